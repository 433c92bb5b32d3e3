"""stage=compare: every system against a baseline on the same utterances, over all their seeds.

Writes <results>/compare.csv and compare.md: the difference of corpus WER with its interval, a sign-flip
p-value adjusted by Holm over all systems, whether the system is as good up to a margin, the difference that
this test set could have found, and how the difference changes when a text is twice as long. lengths.csv has the
differences by number of words, seed by seed, with p adjusted over all its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from eval.analysis.lengths import bin_differences, slope_if_any
from eval.analysis.statistics import (
    Interval,
    holm,
    minimum_detectable_difference,
    seeded_difference_interval,
    sign_flip_p_value,
)
from eval.analysis.summary import word_errors_of
from eval.store.evaluations import Evaluated, check_comparable, find_evaluations
from eval.store.files import InputError, write_text

LEVEL = 0.05
BETTER, AS_GOOD, WORSE, OPEN = "better", "as good", "worse", "open"


@dataclass(frozen=True)
class Comparison:
    """One system and its baseline. Rates are fractions; `detectable` is with a power of 0.8."""

    system: str
    seeds: int
    wer: float
    baseline_wer: float
    difference: Interval
    p: float
    detectable: float
    slope: (
        Interval | None
    )  # of the difference per doubling of the words; None: lengths too much alike
    p_holm: float = float("nan")

    def verdict(self, margin: float) -> str:
        """ "better" or "worse" when p after Holm is below 0.05 and the interval leaves out 0; else "as good"
        when the interval stays below the margin."""
        settled = self.p_holm < LEVEL
        if settled and self.difference.high < 0:
            return BETTER
        if settled and self.difference.low > 0:
            return WORSE
        return AS_GOOD if self.difference.high < margin else OPEN


def compare(
    results: Path, baseline: str | None, console: Console, margin: float
) -> list[Comparison]:
    """Compare all systems below `results` with `baseline`, write and print the table.

    Raises:
        InputError: no such baseline, test sets or protocols that differ, seeds that do not pair.
    """
    systems = find_evaluations(results)
    names = list(dict.fromkeys(one.name for one in systems))
    if baseline not in names:
        raise InputError(f"baseline={baseline} is not in {results}; there are: {', '.join(names)}")
    bases = [one for one in systems if one.name == baseline]
    if len({one.rules for one in bases}) > 1:
        raise InputError(
            f"{baseline} was scored on several test sets or by several protocols: "
            f"{', '.join(str(one.folder) for one in bases)}; give a results= that holds one of them"
        )
    others = [one for one in systems if one.rules != bases[0].rules]
    systems = [one for one in systems if one.rules == bases[0].rules]
    names = list(dict.fromkeys(one.name for one in systems))
    if len(names) < 2:
        check_comparable([bases[0], *others])  # says what differs
        raise InputError(f"{results} holds {baseline} only: there is nothing to compare it with")
    for one in others:
        console.print(f"[yellow]{one.folder} has another test set or protocol: not compared[/]")
    check_comparable(systems)
    by_name = {name: [one for one in systems if one.name == name] for name in names}
    found = [
        compare_one(by_name[name], by_name[str(baseline)]) for name in names if name != baseline
    ]
    adjusted = holm([one.p for one in found])
    found = [replace(one, p_holm=float(p)) for one, p in zip(found, adjusted, strict=True)]
    found.sort(key=lambda one: one.difference.point)
    table = pd.DataFrame([_row(one, margin) for one in found])
    write_text(results / "compare.csv", table.to_csv(index=False, float_format="%.6g"))
    write_text(results / "compare.md", markdown(found, str(baseline), margin))
    by_length = pd.DataFrame(
        row for name in names if name != baseline for row in _by_length(by_name[name], bases)
    )
    by_length["p_holm"] = holm(by_length["p"])
    write_text(results / "lengths.csv", by_length.to_csv(index=False, float_format="%.6g"))
    console.print(rich_table(found, str(baseline), margin))
    for name in ("compare.csv", "compare.md", "lengths.csv"):
        console.print(f"-> {results / name}", soft_wrap=True)
    return found


def _by_length(systems: Sequence[Evaluated], bases: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """Rows of lengths.csv of one system."""
    rows = []
    for one, base in _sides(systems, bases):
        for part in bin_differences(one.rows, base.rows):
            values = asdict(part)
            gap = values.pop("difference")
            named = {f"wer_difference_{end}": gap[end] for end in ("point", "low", "high")}
            rows.append({"system": one.name, "seed": one.seed, **values, **named})
    return rows


def _sides(
    systems: Sequence[Evaluated], baseline: Sequence[Evaluated]
) -> list[tuple[Evaluated, Evaluated]]:
    """Each seed of a system with the baseline's; a baseline with one seed stands against each.

    Raises InputError when the seeds of the two do not pair.
    """
    seeds = [one.seed for one in systems]
    own = {one.seed: one for one in baseline}
    if len(own) > 1 and sorted(own) != sorted(seeds):
        raise InputError(
            f"{systems[0].name} has the seeds {seeds}, {baseline[0].name} {sorted(own)}: they do not pair"
        )
    return [(one, own.get(one.seed, baseline[0])) for one in systems]


def compare_one(systems: Sequence[Evaluated], baseline: Sequence[Evaluated]) -> Comparison:
    """One system with a baseline, seed by seed. Raises InputError as `_sides` does."""
    sides = _sides(systems, baseline)
    scored = [row["wer"] is not None for row in systems[0].rows]

    def errors(one: Evaluated) -> np.ndarray:
        return np.array(
            [
                word_errors_of(row).errors
                for row, counts in zip(one.rows, scored, strict=True)
                if counts
            ],
            dtype=float,
        )

    ours, theirs = (np.stack([errors(side[n]) for side in sides]) for n in (0, 1))
    kept = [row for row, counts in zip(systems[0].rows, scored, strict=True) if counts]
    words = np.array([row["reference_words"] for row in kept], dtype=float)
    clusters = [str(row["prompt"]) for row in kept]
    # The test and its power use each utterance's mean over the seeds.
    mean, base = ours.mean(axis=0), theirs.mean(axis=0)
    return Comparison(
        system=systems[0].name,
        seeds=len(systems),
        wer=float(mean.sum() / words.sum()),
        baseline_wer=float(base.sum() / words.sum()),
        difference=seeded_difference_interval(ours, theirs, words, clusters),
        p=sign_flip_p_value(mean, base, clusters),
        detectable=minimum_detectable_difference(mean, base, words, clusters),
        slope=slope_if_any(ours - theirs, words, clusters),
    )


def _row(one: Comparison, margin: float) -> dict[str, Any]:
    gap = one.difference
    return {
        "system": one.system,
        "seeds": one.seeds,
        "wer_corpus": one.wer,
        "baseline_wer_corpus": one.baseline_wer,
        "wer_difference": gap.point,
        "wer_difference_low": gap.low,
        "wer_difference_high": gap.high,
        "p_sign_flip": one.p,
        "p_holm": one.p_holm,
        "minimum_detectable_difference": one.detectable,
        "slope_per_doubling": one.slope and one.slope.point,
        "slope_low": one.slope and one.slope.low,
        "slope_high": one.slope and one.slope.high,
        "margin": margin,
        "verdict": one.verdict(margin),
    }


def _cells(one: Comparison, margin: float) -> list[str]:
    gap = one.difference
    return [
        one.system,
        str(one.seeds),
        f"{100 * one.wer:.2f}",
        f"{100 * gap.point:+.2f} [{100 * gap.low:+.2f}, {100 * gap.high:+.2f}]",
        f"{one.p_holm:.4f}",
        f"{100 * one.detectable:.2f}",
        f"{100 * one.slope.point:+.2f} [{100 * one.slope.low:+.2f}, {100 * one.slope.high:+.2f}]"
        if one.slope
        else "–",
        one.verdict(margin),
    ]


HEADERS = (
    *("system", "seeds", "WER %", "Δ points [95 % CI]", "p (Holm)", "detectable"),
    *("Δ per doubled length", "verdict"),
)


def markdown(found: Sequence[Comparison], baseline: str, margin: float) -> str:
    """The table with a sentence that says what it compares."""
    lines = [
        f"Corpus WER against `{baseline}` ({100 * found[0].baseline_wer:.2f} %), paired; p-values by "
        f'sign flips of prompts, adjusted by Holm over {len(found)} systems; "as good": less than '
        f"{100 * margin:.1f} points worse with 95 % confidence.",
        "",
        "| " + " | ".join(HEADERS) + " |",
        "|" + "---|" * len(HEADERS),
    ]
    lines += ["| " + " | ".join(_cells(one, margin)).replace("\n", " ") + " |" for one in found]
    return "\n".join(lines) + "\n"


def rich_table(found: Sequence[Comparison], baseline: str, margin: float) -> Table:
    """The same for a terminal."""
    table = Table(title=f"against {baseline}", box=None, padding=(0, 1), pad_edge=False)
    for number, header in enumerate(HEADERS):
        table.add_column(header, justify="right" if number else "left", overflow="fold")
    for one in found:
        table.add_row(*_cells(one, margin))
    return table
