"""Report stage: the table and the page of one evaluation, from its rows and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from eval.analysis.summary import adjusted, coverage, leaderboard_line, line_against
from eval.report.curves import curves_svg, find_metrics_csv, read_curves
from eval.report.page import SystemResult, write_report
from eval.report.terminal import leaderboard_table
from eval.settings import Page
from eval.store.database import differing
from eval.store.evaluations import Evaluated, check_list, check_recipe, read_evaluation
from eval.store.files import InputError, sha256_json, write_json


def check_baseline(baseline: str | None, names: Sequence[str]) -> None:
    """Raise InputError unless the baseline is among the systems."""
    if baseline is not None and baseline not in names:
        raise InputError(f"baseline {baseline!r} is not among: {', '.join(names)}")


def report(s: Page, names: Sequence[str] | None, console: Console) -> int:
    """Read rows, write the tables and the page, print the table; the exit code.

    Raises:
        InputError: a system that is not ready, systems that were scored in different ways, or a baseline
            that is not among them.
    """
    systems = read_evaluation(s.out, names)
    check_baseline(s.baseline, [one.name for one in systems])
    check_one_way(systems)
    results = []
    base = next((one for one in systems if one.name == s.baseline), None)
    for one in systems:
        line = leaderboard_line(one.name, one.card, one.rows)
        if base is not None and one is not base:
            line = line_against(line, one.rows, base.name, base.rows)
        svg, source = _curves(one, console)
        results.append(SystemResult(line, one, svg, source))
    # A difference is settled among all of the table's.
    lines = adjusted([result.line for result in results])
    results = [replace(one, line=line) for one, line in zip(results, lines, strict=True)]
    paths = write_report(results, s.out, title=s.title, n_examples=s.n_examples)
    write_json(s.out / "manifest.json", manifest(systems))
    console.print(leaderboard_table(lines, s.title))
    for path in paths:
        console.print(f"-> {path}", soft_wrap=True, markup=False)
    return coverage(lines, s.allow_partial, console)


def check_one_way(systems: Sequence[Evaluated]) -> None:
    """Raise InputError, naming what differs, for systems of one table that were not scored alike.

    A metric that one of them lacks keeps the others comparable. The recordings and the codec may have been
    asked for fewer utterances of the list.
    """
    for one in systems[1:]:
        check_list(systems[0], one)
    measured = [one for one in systems if "ce_recipe" in one.card]
    for one in measured[1:]:
        gap = differing(measured[0].card["ce_recipe"], one.card["ce_recipe"])
        if gap:
            raise InputError(
                f"{measured[0].folder} and {one.folder} have cross-entropies of different recipes ({gap}): "
                "run stage=score with the same ce_limit= and testset.tokens="
            )
    for metric in {name for one in systems for name in one.recipes}:
        first, *others = [one for one in systems if metric in one.recipes]
        for other in others:
            check_recipe(first, other, metric)


def manifest(systems: Sequence[Evaluated]) -> dict[str, Any]:
    """Where the rows of a table come from, as they were stored."""
    return {
        "systems": {
            one.name: {
                "card": dict(one.card),
                "speech": dict(one.speech),
                "metrics": {name: dict(recipe) for name, recipe in one.recipes.items()},
                "meta_sha256": one.test_set,
                "seed_index": one.seed,
                "utterances": len(one.rows),
                "rows_sha256": sha256_json(one.rows),
            }
            for one in systems
        },
        "runs": list(systems[0].runs),
    }


def _curves(one: Evaluated, console: Console) -> tuple[str | None, str | None]:
    """Loss curves of the run that made a model, when it left a metrics CSV."""
    if one.card["kind"] != "model":
        return None, None
    path = find_metrics_csv(Path(one.card["source"]))
    if path is None:
        return None, None
    try:
        return curves_svg(read_curves(path)), str(path)
    except ValueError as error:
        console.print(f"{one.name}: no loss curves: {error}", style="yellow", markup=False)
        return None, None
