"""Numbers of the studies of training: where layers start, and what the loss terms are worth."""

from __future__ import annotations

import math
from collections.abc import Mapping

from eval.analysis.statistics import Difference, holm
from eval.store.files import InputError
from studies.documents.sources import (
    Sources,
    Study,
    between,
    difference,
    markdown,
    points,
    rate,
    steps_to,
    validation,
)

INIT_CELL = ("1to3", "blockbeg")
STARTS = ("paper", "calibrated", "xavier", "kaiming", "layerwise")
OBJECTIVE_CELL = ("1to1", "blockbeg")
FULL, LEVEL = "full", 0.05
OBJECTIVES = {  # by study; `full` stands in both
    "study_objective": (FULL, "without_ce", "without_logits", "without_emb"),
    "study_embedding": ("all_layers", "input_embed"),
}


def _start(study: Study, name: str) -> str:
    return study.works(*INIT_CELL, f"init={name}")[0]


def _end(curve: Mapping[int, float]) -> float:
    return curve[max(curve)]


def starts_table(sources: Sources) -> str:
    """Validation CE by step, the steps to where `paper` ends, and WER."""
    study = sources.study("study_init")
    goal = _end(validation(study, _start(study, "paper")))
    steps = (40, 80, 160, 240, 320)
    rows = []
    for name in STARTS:
        curve = validation(study, _start(study, name))
        reached = steps_to(curve, goal)
        found = "never" if math.isnan(reached) else f"{reached:.0f}"
        values = [f"{curve[step]:.3f}" for step in steps]
        rows.append([f"`{name}`", *values, found, rate(study.wer(_start(study, name)), 1)])
    headers = ["start", *(str(s) for s in steps), "steps to `paper`'s end", "WER %"]
    return markdown(headers, rows)


def start_values(sources: Sources, name: str) -> str:
    """`goal`: where `paper` ends; `own_rate`: steps of the grid's cells to it; `own_share`: of paper's."""
    study, cells = sources.study("study_init"), sources.study("grid")
    curve = validation(study, _start(study, "paper"))
    goal = _end(curve)
    reached = [steps_to(validation(cells, work), goal) for work in cells.works(*INIT_CELL).values()]
    facts = {
        "goal": f"{goal:.3f}",
        "own_rate": between(reached, "{:.0f}"),
        "own_share": between([steps / steps_to(curve, goal) for steps in reached], "{:.2f}"),
    }
    return _fact(facts, name, "study_init")


def objective_table(sources: Sources) -> str:
    """Every objective against `full`; p by Holm over all rows."""
    adjusted, rows = _adjusted(sources), []
    for folder, names in OBJECTIVES.items():
        study = sources.study(folder)
        for name in names:
            work = _objective(study, name)
            gap = [points(_gap(study, name)), f"{adjusted[name]:.2f}"] if name != FULL else ["", ""]
            ce = f"{study.cell(work)['ce']:.3f}"
            rows.append([f"`{name}`", rate(study.wer(work), 1), *gap, ce])
    headers = ["objective", "WER %", "less `full`, points", "p (Holm)", "CE"]
    return markdown(headers, rows)


def objective_values(sources: Sources, name: str) -> str:
    """`settled`: the objectives that differ from `full` at the 0.05 level over the whole table."""
    settled = [f"`{one}`" for one, p in _adjusted(sources).items() if p < LEVEL]
    return _fact({"settled": ", ".join(settled) or "none"}, name, "the objectives")


def _adjusted(sources: Sources) -> dict[str, float]:
    """Objective -> p of no difference to `full`, adjusted by Holm over the objectives of all studies."""
    p = {
        name: _gap(sources.study(folder), name).p
        for folder, names in OBJECTIVES.items()
        for name in names
        if name != FULL
    }
    return dict(zip(p, holm(list(p.values())).tolist(), strict=True))


def _objective(study: Study, name: str) -> str:
    return study.works(*OBJECTIVE_CELL, f"objective={name}")[0]


def _gap(study: Study, name: str) -> Difference:
    sides = ({0: _objective(study, name)}, study, {0: _objective(study, "full")})
    return difference(study, *sides)


def _fact(facts: dict[str, str], name: str, where: str) -> str:
    if name not in facts:
        raise InputError(f"no value {name!r} of {where}; there are: {', '.join(facts)}")
    return facts[name]
