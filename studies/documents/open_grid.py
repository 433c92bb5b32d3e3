"""Students of the open system beside their controls: the teacher continued, windows in place of Mamba."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial

from eval.store.files import InputError
from mamtra.backbone.layer_plan import ATTENTION, DELTANET, LETTERS, MAMBA, WINDOW
from studies.documents.open_state import ASSETS, mean_lengths, state_bytes
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
KINDS = {letter: kind for kind, letter in LETTERS.items()}
NAMES = {"": "none", LETTERS[MAMBA]: "Mamba-2", LETTERS[DELTANET]: "gated DeltaNet", W: "window"}
STATES = {"shared": "state=shared", "bf16": "state_dtype=bf16"}
PATHS = "paths="  # an override that every cell of the system has
LENGTHS, LESS = ("conditioning", "generated"), "less-"
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
                f"{state_of(sources, study, one) / 1000:,.0f}",
                "" if works is control else _gap(study, works, control),
                _gap(study, works, twin) if twin else "",
            ]
        )
    headers = ["ratio", "placement", "other layers", "WER % by seed", "mean", "state KB"]
    return markdown([*headers, "less the teacher continued", "less the window"], rows)


HEADLINE = "oas"  # the placement of README's table


def headline_table(sources: Sources) -> str:
    """Mamba and windows over the ratios of one placement, beside each other and the teacher continued."""
    study, kinds, control = _read(sources)
    plain = {one[:3]: works for one, works in kinds.items() if one[1] == HEADLINE and not one[3]}
    ratios = list(dict.fromkeys(one[0] for one in plain))

    def line(name: str, cell: Callable[[str], str]) -> list[str]:
        return [name, *(cell(ratio) for ratio in ratios)]

    def wer(letter: str, ratio: str) -> str:
        works = plain.get((ratio, HEADLINE, letter))
        return f"{mean_wer(study, works)} ({len(works)})" if works else ""

    def gap(ratio: str, letter: str, base: dict[int, str] | None) -> str:
        works = plain.get((ratio, HEADLINE, letter))
        return _gap(study, works, base) if works and base else ""

    m, names = LETTERS[MAMBA], {letter: NAMES[letter] for letter in (LETTERS[MAMBA], W)}
    rows = [line(f"{name}, WER % (seeds)", partial(wer, letter)) for letter, name in names.items()]
    for letter, name in names.items():
        rows.append(
            line(f"{name} less the teacher continued", partial(gap, letter=letter, base=control))
        )
    rows.append(line("Mamba-2 less window", lambda r: gap(r, m, plain.get((r, HEADLINE, W)))))
    return markdown(["the other layers", *(r.replace("to", ":") for r in ratios)], rows)


def grid_values(sources: Sources, name: str) -> str:
    """`<ratio>-<placement>-<letter>.<part>`, such as `1to11-oas-M.gap`, of cells without further overrides.

    Parts: `mean` WER %, `gap` to the teacher continued, `window` to the window twin, `seeds`, `state` (KB), and
    `shared` and `bf16`: what such a state has more than the full one; `less-<cell>` to another cell. Besides:
    `continued` (WER %), `continued.state`, `utterances`, and positions of the mean sentence, `conditioning` and
    `generated`.
    """
    study, kinds, control = _read(sources)
    if name == "continued":
        return mean_wer(study, control)
    if name == "utterances":
        return str(study.wer(next(iter(control.values()))).n)
    if name == "continued.state":
        return f"{state_of(sources, study, (*CONTROL, '', '')) / 1000:,.0f}"
    if name in LENGTHS:
        return str(_lengths(sources, study)[LENGTHS.index(name)])
    cell, _, part = name.rpartition(".")
    ratio, placement, letter, _ = own_kind = _kind(cell)
    works = kinds.get(own_kind)
    base = {"gap": control, "window": kinds.get((ratio, placement, W, ""))}
    if part.startswith(LESS):
        base[part] = kinds.get(_kind(part.removeprefix(LESS)))
    if part in STATES and works is not None:
        own = kinds.get((ratio, placement, letter, STATES[part]))
        if own is not None:
            return _gap(study, own, works)
    if (
        works is None
        or part not in ("mean", "seeds", "state", *base)
        or base.get(part, works) is None
    ):
        raise InputError(
            f"no value {name!r} of results/{SYSTEM}/grid: <ratio>-<placement>-<letter>.mean, .gap, .window, "
            ".seeds, .state, .shared, .bf16 or .less-<cell> of finished cells, continued, utterances, "
            "conditioning, generated"
        )
    if part == "state":
        return f"{state_of(sources, study, own_kind) / 1000:,.0f}"
    if part == "mean":
        return mean_wer(study, works)
    return str(len(works)) if part == "seeds" else _gap(study, works, base[part])  # type: ignore[arg-type]


def _kind(cell: str) -> Group:
    """`1to11-oas-M`, of a cell without further overrides."""
    ratio, _, rest = cell.partition("-")
    placement, _, letter = rest.rpartition("-")
    return ratio, placement, letter, ""


def _lengths(sources: Sources, study: Study) -> tuple[int, int]:
    return mean_lengths(sources, frozenset(study.results.utterances["utterance"]))


def state_of(sources: Sources, study: Study, kind: Group) -> int:
    """Bytes of a decode state at the study's mean sentence."""
    ratio, _, letter, overrides = kind
    mixer = KINDS.get(letter, MAMBA)  # no layer of the continued teacher
    lengths = _lengths(sources, study)
    return state_bytes(sources.root / ASSETS, ratio, mixer, overrides, lengths)


def _gap(study: Study, works: dict[int, str], base: dict[int, str]) -> str:
    """Points over the seeds that both have, and how many these are where one has more."""
    shared = works.keys() & base.keys()
    if not shared:
        return "no common seed"
    few = f" ({len(shared)} of {len(works)} seeds)" if len(shared) < len(works) else ""
    return points(difference(study, works, study, base)) + few
