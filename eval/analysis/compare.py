"""stage=compare: every system against a baseline on the same utterances, over all their seeds.

Every measure (`eval.analysis.measures`) is compared by itself: systems whose recipes of it differ are not, with
what differs said, while their other measures are. Writes <results>/compare.csv and compare.md: the difference
with its interval, p adjusted by Holm over the systems, the difference that this test set could have found, and
whether a system's WER is as good up to a margin. lengths.csv has the differences of WER by number of words,
seed by seed, with p adjusted over all its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from eval.analysis.comparison import Comparison, console_tables, lengths_csv, markdown, to_csv
from eval.analysis.lengths import BinDifference, bin_differences, slope_difference
from eval.analysis.measures import WER, measures_of
from eval.analysis.statistics import holm
from eval.store.database import differing
from eval.store.evaluations import Evaluated, find_evaluations
from eval.store.files import InputError, write_text

Pair = tuple[Evaluated, Evaluated]  # a system and the baseline it stands against


def compare(
    results: Path, baseline: str | None, console: Console, margin: float
) -> list[Comparison]:
    """Compare all systems below `results` with `baseline`, write and print the tables.

    Raises:
        InputError: no such baseline, nothing that may be compared with it, seeds that do not pair.
    """
    paired, refused = pair_up(find_evaluations(results), baseline, results)
    found, more_refused = compare_pairs(paired)
    for reason in (*refused, *more_refused):
        console.print(f"[yellow]not compared[/]: {escape(reason)}", soft_wrap=True)
    if not found:
        reasons = "; ".join((*refused, *more_refused))
        raise InputError(f"{results}: nothing can be compared with {baseline}: {reasons}")
    tables = (found, str(baseline), margin)
    write_text(results / "compare.csv", to_csv(*tables))
    write_text(results / "compare.md", markdown(*tables))
    write_text(results / "lengths.csv", lengths_csv(_by_length(paired)))
    for table in console_tables(*tables):
        console.print(table)
    for name in ("compare.csv", "compare.md", "lengths.csv"):
        console.print(f"-> {results / name}", soft_wrap=True, markup=False)
    return found


def pair_up(
    systems: Sequence[Evaluated], baseline: str | None, results: Path
) -> tuple[dict[str, list[Pair]], list[str]]:
    """Each other system's seeds beside the baseline's, and why some evaluations stand beside none.

    Raises:
        InputError: no such baseline, or one that is there twice, or alone; seeds that do not pair.
    """
    names = list(dict.fromkeys(one.name for one in systems))
    bases = [one for one in systems if one.name == baseline]
    if not bases:
        raise InputError(f"baseline={baseline} is not in {results}; there are: {', '.join(names)}")
    if len(names) < 2:
        raise InputError(f"{results} holds {baseline} only: there is nothing to compare it with")
    seeds = [one.seed for one in bases]
    if len({one.test_set for one in bases}) > 1 or len(set(seeds)) < len(seeds):
        raise InputError(
            f"{baseline} was scored on several test sets or in several ways: "
            f"{', '.join(str(one.folder) for one in bases)}; give a results= that holds one of them"
        )
    paired: dict[str, list[Pair]] = {}
    refused = []
    for name in names:
        kept: dict[int, Evaluated] = {}
        own = [one for one in systems if one.name == name != baseline]
        # Of one that is there twice, the one that was measured as the baseline.
        for one in sorted(own, key=lambda one: -_likeness(one, bases)):
            if one.test_set != bases[0].test_set:
                refused.append(f"{one.folder} was scored on another test set than {baseline}")
            elif one.seed in kept:
                refused.append(
                    f"{one.folder}: {kept[one.seed].folder} is scored more like {baseline}"
                )
            else:
                kept[one.seed] = one
        if kept:
            paired[name] = _sides([kept[seed] for seed in sorted(kept)], bases)
    return paired, refused


def compare_pairs(paired: Mapping[str, Sequence[Pair]]) -> tuple[list[Comparison], list[str]]:
    """Every measure of every system, WER first and the lowest first; and which are refused, and why."""
    found, refused = [], []
    measures = {m.name: m for pairs in paired.values() for m in measures_of(pairs[0][0].rows)}
    for measure in (measure for measure in measures.values() if measure.paired):
        these = []
        for name, pairs in paired.items():
            sides = [(one.rows, base.rows) for one, base in pairs]
            gap = measure.difference(sides)
            if gap is None and not any(measure.metric in one.recipes for one, _ in pairs):
                continue  # nobody asked for it
            reason = _differing(measure.metric, pairs)
            if reason:
                refused.append(reason)
            elif gap is not None:
                slope = slope_difference(sides) if measure is WER else None
                base_seeds = len({base.seed for _, base in pairs})
                these.append(Comparison(name, measure, gap, slope, base_seeds))
        adjusted = holm([one.difference.p for one in these])
        these = [
            replace(one, difference=replace(one.difference, p_holm=float(p)))
            for one, p in zip(these, adjusted, strict=True)
        ]
        found += sorted(these, key=lambda one: one.difference.point)
    return found, list(dict.fromkeys(refused))


def _sides(systems: Sequence[Evaluated], baseline: Sequence[Evaluated]) -> list[Pair]:
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


def _likeness(one: Evaluated, bases: Sequence[Evaluated]) -> int:
    """How many metrics were measured as the baseline's."""
    return sum(bases[0].recipes.get(metric) == recipe for metric, recipe in one.recipes.items())


def _differing(metric: str, pairs: Sequence[Pair]) -> str | None:
    """Why a metric of a system and its baseline may not be compared; None when it may."""
    recipes = [(one.folder, one.recipes.get(metric)) for pair in pairs for one in pair]
    first, theirs = recipes[0]
    for folder, recipe in recipes[1:]:
        if recipe is None or theirs is None:
            lacking = folder if recipe is None else first
            return f"{metric} of {first} and {folder}: {lacking} has no recipe of it"
        changes = differing(theirs, recipe)
        if changes:
            return f"{metric} of {first} and {folder} was measured in different ways ({changes})"
    return None


def _by_length(paired: Mapping[str, Sequence[Pair]]) -> list[tuple[str, int, BinDifference]]:
    """(system, seed, difference) of every bin, where WER may be compared."""
    return [
        (name, one.seed, part)
        for name, pairs in paired.items()
        if _differing(WER.metric, pairs) is None
        for one, base in pairs
        for part in bin_differences(one.rows, base.rows)
    ]
