"""Numbers of the ablation grid, its longer runs and its correlations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eval.analysis.correlation import correlation_intervals, correlations, within_correlations
from eval.analysis.statistics import Difference, Interval
from eval.store.files import InputError
from mamtra.backbone.layer_plan import PLACEMENTS
from studies.documents.open_grid import study_of
from studies.documents.sources import (
    TEACHER,
    Row,
    Sources,
    Study,
    between,
    by_work,
    difference,
    markdown,
    percent,
    points,
    rate,
)
from studies.grid_table import of_plans

RATIOS = ("1to1", "1to3", "1to5", "1to11")  # of the grid
SLOW_MINUTES = 16
SPEAKS = 0.5  # a plan with a WER below this speaks
PARTS = ("wer", "wers", "teacher", "blockbeg")


def grid(sources: Sources) -> Study:
    return sources.study("grid")


def wer_table(sources: Sources) -> str:
    """WER and CE of seed 0 of every cell, three placements by scores of the layers last."""
    cells = {(one["placement"], one["ratio"]): one for one in grid(sources).students}

    def text(placement: str, ratio: str) -> str:
        one = cells.get((placement, ratio))
        return f"{percent(one['wer_corpus'])} ({one['ce']:.3f})" if one else "–"

    there = {placement for placement, _ in cells}
    names = [name for name in PLACEMENTS if name in there and name != "kl"] + ["kl"]
    rows = [[f"`{name}`", *(text(name, ratio) for ratio in RATIOS)] for name in names]
    return markdown(["placement", *_ratios()], rows)


def seeds_table(sources: Sources) -> str:
    """WER of each seed, and paired differences over the seeds."""
    study = grid(sources)
    teacher = ", ".join(percent(v) for v in study.wers(study.works(*TEACHER)))
    rows = [
        ["`kl`", *(_wers(study, ratio, "kl") for ratio in RATIOS)],
        [f"`kl` - teacher ({teacher}), points", *_gaps(study, "kl", TEACHER)],
        ["`blockbeg`", *(_wers(study, ratio, "blockbeg") for ratio in RATIOS)],
        ["`kl` - `blockbeg`, points", *_gaps(study, "kl", None)],
    ]
    return markdown(["", *_ratios()], rows)


def long_table(sources: Sources) -> str:
    """`kl` with more steps, beside the grid's budget: one seed."""
    study, longer = grid(sources), sources.study("long")
    rows = []
    for ratio in ("1to1", "1to11"):
        short = {0: study.works(ratio, "kl")[0]}
        rows.append(_long_row(sources, study, short))
        runs = sorted((c for c in longer.cells if c["ratio"] == ratio), key=lambda c: c["step"])
        rows += [_long_row(sources, longer, {0: run["work"]}) for run in runs]
    headers = ["ratio", "steps", "minutes", "WER %", "less the teacher, points", "CE"]
    return markdown(headers, rows)


def _long_row(sources: Sources, study: Study, works: dict[int, str]) -> list[str]:
    work, base = works[0], grid(sources)
    cell = study.cell(work)
    gap = difference(study, works, base, {0: base.works(*TEACHER)[0]})
    minutes = f"{cell['train_s'] / 60:.0f}"
    ratio = str(cell["ratio"]).replace("to", ":")
    steps = f"{int(cell['step']):,}"
    return [ratio, steps, minutes, rate(study.wer(work)), points(gap, 2), f"{cell['ce']:.3f}"]


def against(
    own: Study, ratio: str, placement: str, base: Study, base_ratio: str, base_placement: str
) -> Difference:
    """A cell less another one over the seeds of both."""
    return difference(
        own, own.works(ratio, placement), base, base.works(base_ratio, base_placement)
    )


def grid_values(sources: Sources, name: str) -> str:
    """`<placement>-<ratio>.<part>` (see PARTS), or a fact of the whole grid."""
    study = grid(sources)
    cell, dot, part = name.rpartition(".")
    if dot and part in PARTS:
        placement, _, ratio = cell.rpartition("-")
        return _cell_value(study, ratio, placement, part)
    if name not in FACTS:
        raise InputError(f"no fact {name!r} of the grid; there are: {', '.join(FACTS)}")
    return FACTS[name](study)


def _cell_value(study: Study, ratio: str, placement: str, part: str) -> str:
    if part == "wer":
        return percent(study.wers(study.works(ratio, placement))[0])
    if part == "wers":
        return _wers(study, ratio, placement)
    base = TEACHER if part == "teacher" else (ratio, "blockbeg")
    return points(against(study, ratio, placement, study, *base))


def _minutes(study: Study) -> list[float]:
    return [_seconds(work) / 60 for work in by_work(study.cells)]


def _seconds(work: Row) -> float:
    """Of its training, if it has one, and of its scoring."""
    return (0 if math.isnan(work["train_s"]) else work["train_s"]) + work["evaluate_s"]


def _median_minutes(study: Study, name: str) -> str:
    return f"{np.nanmedian([work[name] for work in by_work(study.cells)]) / 60:.0f}"


def _speaking(study: Study) -> list[Row]:
    return [plan for plan in study.plans if plan["wer_corpus"] < SPEAKS]


def _silent(study: Study) -> list[Row]:
    return [plan for plan in study.plans if plan["wer_corpus"] >= SPEAKS]


def _of_32(study: Study) -> list[Row]:
    return [cell for cell in study.students if cell["placement"] != "kl"]


def _column(rows: Sequence[Row], name: str) -> list[Any]:
    return [row[name] for row in rows]


def _slow(study: Study) -> list[float]:
    return [minutes for minutes in _minutes(study) if minutes > SLOW_MINUTES]


def _with_ends(found: Interval) -> str:
    return f"{found.point:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _correlation(within: bool) -> Callable[[Study], str]:
    def text(study: Study) -> str:
        errors, words, clusters = study.results.errors(_column(study.plans, "work"))
        groups = _column(study.plans, "ratio") if within else None
        found = correlation_intervals(
            _column(study.plans, "ce"), errors, words, clusters, groups=groups, n_resamples=1000
        )["spearman"]
        return _with_ends(found)

    return text


def _speaking_correlation(within: bool) -> Callable[[Study], str]:
    def text(study: Study) -> str:
        few = _speaking(study)
        columns = (_column(few, "ce"), _column(few, "wer_corpus"))
        ratios = _column(few, "ratio")
        found = within_correlations(*columns, ratios) if within else correlations(*columns)
        return f"{found['spearman']:.2f}"

    return text


def _count(choose: Callable[[Study], Sequence[Row]]) -> Callable[[Study], str]:
    return lambda study: str(len(choose(study)))


FACTS: dict[str, Callable[[Study], str]] = {
    "rows": _count(lambda s: s.cells),
    "works": _count(lambda s: by_work(s.cells)),
    "cells": _count(_of_32),
    "cell_plans": _count(lambda s: by_work(_of_32(s))),
    "plans": _count(lambda s: s.plans),
    "speaking": _count(_speaking),
    "silent": _count(_silent),
    "silent_cells": _count(lambda s: [c for c in _of_32(s) if c["wer_corpus"] >= SPEAKS]),
    "speaking_wer": lambda s: between([100 * p["wer_corpus"] for p in _speaking(s)], "{:.0f}"),
    "silent_wer": lambda s: between([100 * p["wer_corpus"] for p in _silent(s)], "{:.0f}"),
    "core_hours": lambda s: f"{sum(_minutes(s)) / 60:.1f}",
    "cell_core_hours": lambda s: f"{sum(_seconds(w) for w in by_work(_of_32(s))) / 3600:.1f}",
    "train_median_minutes": lambda s: _median_minutes(s, "train_s"),
    "score_median_minutes": lambda s: _median_minutes(s, "evaluate_s"),
    "slow_works": lambda s: str(len(_slow(s))),
    "slow_minutes": lambda s: between(_slow(s), "{:.0f}"),
    "teacher_wers": lambda s: ", ".join(percent(v) for v in s.wers(s.works(*TEACHER))),
    "teacher": lambda s: rate(s.wer(s.works(*TEACHER)[0])),
    "teacher_ce": lambda s: f"{s.cell(s.works(*TEACHER)[0])['ce']:.3f}",
    "spearman": _correlation(within=False),
    "spearman_within": _correlation(within=True),
    "spearman_speaking": _speaking_correlation(within=False),
    "spearman_speaking_within": _speaking_correlation(within=True),
    "one_layer": lambda s: points(against(s, "1to11", "wer", s, "1to11", "kl")),
    "utterances": lambda s: str(s.wer(s.works(*TEACHER)[0]).n),
    "voices": lambda s: str(s.wer(s.works(*TEACHER)[0]).clusters),
}


OPEN_FACTS = ("plans", "speaking", "silent", "speaking_wer", "silent_wer")
OPEN_FACTS += ("spearman", "spearman_within", "spearman_speaking", "spearman_speaking_within")
OPEN_SEEDS = ("seeds.plans", "seeds.spearman", "seeds.by_seed")  # of speaking plans with all seeds


def open_values(sources: Sources, name: str) -> str:
    """A fact of the layer plans of the open system's grid, of seed 0 (OPEN_FACTS) or OPEN_SEEDS."""
    study = study_of(sources)
    if name in OPEN_SEEDS:
        return _over_seeds(study, name)
    if name not in OPEN_FACTS:
        known = ", ".join((*OPEN_FACTS, *OPEN_SEEDS))
        raise InputError(f"no value {name!r} of the open plans; there are: {known}")
    return FACTS[name](study)


def _over_seeds(study: Study, name: str) -> str:
    """How many plans that speak have all seeds; Spearman's rho of CE and WER over their means, and by seed."""
    cells = of_plans(study.results.done()).query("ratio != '1to0'").drop_duplicates("work")
    seeds = sorted(set(cells["seed"]))
    wide = cells.pivot(index="plan", columns="seed", values=["work", "ce", "wer_corpus"]).dropna()
    wide = wide[(wide["wer_corpus"] < SPEAKS).all(axis=1)]
    if name == "seeds.plans":
        return str(len(wide))
    ce, wer = wide["ce"].astype(float), wide["wer_corpus"].astype(float)
    if name == "seeds.by_seed":
        return ", ".join(f"{correlations(ce[s], wer[s])['spearman']:.2f}" for s in seeds)
    works = np.asarray(wide["work"])
    errors, words, clusters = study.results.errors(list(works.ravel()))
    summed = errors.reshape(*works.shape, -1).sum(axis=1)
    found = correlation_intervals(
        ce.mean(axis=1), summed, len(seeds) * np.asarray(words), clusters, n_resamples=1000
    )["spearman"]
    return _with_ends(found)


def long_values(sources: Sources, name: str) -> str:
    """`<steps>.wer`, `.teacher` (points), `.minutes`."""
    steps, _, part = name.partition(".")
    longer, base = sources.study("long"), grid(sources)
    found = [cell for cell in longer.cells if str(int(cell["step"])) == steps]
    if not found or part not in ("wer", "teacher", "minutes"):
        raise InputError(
            f"no value {name!r} of results/mini-grammar/long (<steps>.wer, .teacher, .minutes)"
        )
    cell = found[0]
    if part == "wer":
        return percent(cell["wer_corpus"])
    if part == "minutes":
        return f"{cell['train_s'] / 60:.0f}"
    gap = difference(longer, {0: cell["work"]}, base, {0: base.works(*TEACHER)[0]})
    return points(gap, 2)


def paper_values(sources: Sources, name: str) -> str:
    """Spearman's correlation of CE and WER over the paper's figure 4."""
    if name != "spearman":
        raise InputError(f"no value {name!r} of the paper; there is: spearman")
    paper = sources.csv("results/paper/figure4.csv")
    wers, ce = [[row["wer_percent"]] for row in paper], _column(paper, "ce")
    found = correlation_intervals(ce, wers, [100], ["all"], n_resamples=1000)["spearman"]
    return _with_ends(found)


def _ratios() -> list[str]:
    return [ratio.replace("to", ":") for ratio in RATIOS]


def _wers(study: Study, ratio: str, placement: str) -> str:
    return ", ".join(percent(value) for value in study.wers(study.works(ratio, placement)))


def _gaps(study: Study, placement: str, base: tuple[str, str] | None) -> list[str]:
    """Differences of a placement to a cell, or to BlockBeg of the same ratio, for every ratio."""
    pairs = [(ratio, base or (ratio, "blockbeg")) for ratio in RATIOS]
    return [points(against(study, ratio, placement, study, *other)) for ratio, other in pairs]
