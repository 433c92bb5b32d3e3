"""Students of the open system beside their controls: the teacher continued, windows in place of Mamba."""

from __future__ import annotations

from collections import defaultdict

from eval.store.files import InputError
from mamtra.backbone.layer_plan import ATTENTION, DELTANET, LETTERS, MAMBA, WINDOW
from studies.documents.sources import (
    Row,
    Sources,
    Study,
    difference,
    markdown,
    mean_wer,
    percent,
    points,
)
from studies.grid_table import CONTINUED

SYSTEM = "open"
CONTROL = ("1to0", CONTINUED)
A, W = LETTERS[ATTENTION], LETTERS[WINDOW]
NAMES = {"": "none", LETTERS[MAMBA]: "Mamba-2", LETTERS[DELTANET]: "gated DeltaNet", W: "window"}
STATES = {"shared": "state=shared", "bf16": "state_dtype=bf16"}
PATHS = "paths="  # an override that every cell of the system has
Group = tuple[
    str, str, str, str
]  # ratio, placement, letter of the converted layers ("" for none), overrides


def _group(cell: Row) -> Group:
    letters = set(str(cell["plan"])) - {A}
    if len(letters) > 1:
        raise InputError(
            f"{cell['work']}: the plan {cell['plan']} has more than one kind of layers"
        )
    words = [word for word in str(cell["overrides"]).split() if not word.startswith(PATHS)]
    own = [word for word in words if not word.startswith(("mixer=", "init=identity"))]
    return str(cell["ratio"]), str(cell["placement"]), "".join(letters), " ".join(own)


def groups(study: Study) -> dict[Group, dict[int, str]]:
    """Seed -> work of every kind of cell, by ratio from many attention layers to few."""
    found: defaultdict[Group, dict[int, str]] = defaultdict(dict)
    for cell in study.cells:
        found[_group(cell)][int(cell["seed"])] = str(cell["work"])
    few = sorted(found, key=lambda one: (float(one[0].rpartition("to")[2]), *one[1:]))
    return {one: dict(sorted(found[one].items())) for one in few}


def _read(sources: Sources) -> tuple[Study, dict[Group, dict[int, str]], dict[int, str]]:
    """The grid, its kinds of cells, and the works of the control."""
    study = sources.study("grid", SYSTEM)
    kinds = groups(study)
    control = next((works for one, works in kinds.items() if one[:2] == CONTROL), None)
    if control is None:
        raise InputError(
            f"results/{SYSTEM}/grid: no cell {' '.join(CONTROL)}, the control of all others"
        )
    return study, kinds, control


def grid_table(sources: Sources) -> str:
    """WER of every seed, and paired differences to the continued teacher and to the window twin."""
    study, kinds, control = _read(sources)
    rows = []
    for one, works in kinds.items():
        ratio, placement, letter, words = one
        twin = None if letter in ("", W) else kinds.get((ratio, placement, W, words))
        rows.append(
            [
                ratio.replace("to", ":"),
                f"`{placement}`",
                " ".join(filter(None, (NAMES[letter], f"`{words}`" if words else ""))),
                ", ".join(percent(value, 1) for value in study.wers(works)),
                mean_wer(study, works),
                "" if works is control else _gap(study, works, control),
                _gap(study, works, twin) if twin else "",
            ]
        )
    headers = ["ratio", "placement", "other layers", "WER % by seed", "mean"]
    return markdown([*headers, "less the teacher continued", "less the window"], rows)


def grid_values(sources: Sources, name: str) -> str:
    """`<ratio>-<placement>-<letter>.<part>`, such as `1to11-oas-M.gap`, of cells without further overrides.

    Parts: `mean` WER %, `gap` to the teacher continued, `window` to the window twin, `seeds`, and `shared` and
    `bf16`: what such a state has more than the full one. Besides: `continued` (WER %) and `utterances`.
    """
    study, kinds, control = _read(sources)
    if name == "continued":
        return mean_wer(study, control)
    if name == "utterances":
        return str(study.wer(next(iter(control.values()))).n)
    cell, _, part = name.rpartition(".")
    ratio, _, rest = cell.partition("-")
    placement, _, letter = rest.rpartition("-")
    works = kinds.get((ratio, placement, letter, ""))
    base = {"gap": control, "window": kinds.get((ratio, placement, W, ""))}
    if part in STATES and works is not None:
        own = kinds.get((ratio, placement, letter, STATES[part]))
        if own is not None:
            return _gap(study, own, works)
    if works is None or part not in ("mean", "seeds", *base) or base.get(part, works) is None:
        raise InputError(
            f"no value {name!r} of results/{SYSTEM}/grid: <ratio>-<placement>-<letter>.mean, .gap, .window, "
            ".seeds, .shared or .bf16 of finished cells, continued, utterances"
        )
    if part == "mean":
        return mean_wer(study, works)
    return str(len(works)) if part == "seeds" else _gap(study, works, base[part])  # type: ignore[arg-type]


def _gap(study: Study, works: dict[int, str], base: dict[int, str]) -> str:
    """Points over the seeds that both have, and how many these are where one has more."""
    shared = works.keys() & base.keys()
    if not shared:
        return "no common seed"
    few = f" ({len(shared)} of {len(works)} seeds)" if len(shared) < len(works) else ""
    return points(difference(study, works, study, base)) + few
