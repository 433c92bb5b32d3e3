"""Students of the open system beside their controls: the teacher continued, windows in place of Mamba.

There are three grids. In GRID each Mamba layer had 1,000 steps by itself, then all had 640 together; TEACHER_B
is the same of the teacher that was told to read in other layers. In SHORT these were 150 and 160.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from eval.store.files import InputError
from eval.store.grid_layout import PLACES, without_places
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

SYSTEM, GRID, TEACHER_B = "open", "grid_640", "grid_640_b"
SHORT = "grid"
# Cells of GRID that another machine made and scored. The code is the same; its hashes in the recipes are not,
# because Python 3.12 writes a syntax tree otherwise than 3.11.
PROCESSOR = "grid_640_processor"
GENERATED = f"results/{SYSTEM}/generated.json"  # of `data.teacher_generated`
CONTROL = ("1to0", CONTINUED)
A, W = LETTERS[ATTENTION], LETTERS[WINDOW]
KINDS = {letter: kind for kind, letter in LETTERS.items()}
NAMES = {"": "none", LETTERS[MAMBA]: "Mamba-2", LETTERS[DELTANET]: "gated DeltaNet", W: "window"}
STATES = {"shared": "state=shared", "bf16": "state_dtype=bf16"}
HEADLINE = "oas"  # the placement of README's table
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
    words = without_places(str(cell["overrides"]).split())
    own = [word for word in words if not word.startswith(("mixer=", "init=identity"))]
    return str(cell["ratio"]), str(cell["placement"]), "".join(letters), " ".join(own)


def groups(study: Study) -> dict[Group, dict[int, str]]:
    """Seed -> work of every kind of cell, by ratio from many attention layers to few."""
    found: defaultdict[Group, dict[int, str]] = defaultdict(dict)
    for cell in study.cells:
        kind, seed, work = _group(cell), int(cell["seed"]), str(cell["work"])
        if found[kind].setdefault(seed, work) != work:
            what = " ".join(filter(None, kind))
            raise InputError(
                f"{work} and {found[kind][seed]} are both {what}, seed {seed}: they differ alone in where they "
                f"were made ({', '.join(PLACES)}), such as in precision"
            )
    few = sorted(found, key=lambda one: (float(one[0].rpartition("to")[2]), *one[1:]))
    return {one: dict(sorted(found[one].items())) for one in few}


@dataclass(frozen=True)
class Part:
    """Kinds of cells of one grid, and the works of its control."""

    name: str
    study: Study
    kinds: dict[Group, dict[int, str]]

    @property
    def control(self) -> dict[int, str]:
        found = next((works for one, works in self.kinds.items() if one[:2] == CONTROL), None)
        if found is None:
            place = f"results/{SYSTEM}/{self.name}"
            raise InputError(f"{place}: no cell {' '.join(CONTROL)}, the control of all others")
        return found

    def window(self, kind: Group) -> dict[int, str] | None:
        """The trained window with the same ratio, placement and budget; of no window, and of no teacher."""
        ratio, placement, letter, words = kind
        return None if letter in ("", W) else self.kinds.get((ratio, placement, W, words))


def study_of(sources: Sources, name: str = GRID) -> Study:
    """A grid below results/open; GRID with the cells that a processor made, where there are any."""
    there = name == GRID and (sources.root / "results" / SYSTEM / PROCESSOR).is_dir()
    return sources.study(name, SYSTEM, (PROCESSOR,) if there else ())


def part(sources: Sources, name: str = GRID) -> Part:
    """A grid below results/open, as `study_of` reads it."""
    study = study_of(sources, name)
    return Part(name, study, groups(study))


def described(kind: Group) -> list[str]:
    """The first columns of a table's row."""
    ratio, placement, letter, words = kind
    other = " ".join(filter(None, (NAMES[letter], f"`{words}`" if words else "")))
    return [ratio.replace("to", ":"), f"`{placement}`", other]


def grid_table(sources: Sources, grid: str = GRID) -> str:
    """WER of every seed, and paired differences to the continued teacher and to the window twin."""
    own = part(sources, grid)
    study, control, rows = own.study, own.control, []
    same = _same_students(own.kinds)
    for one, works in own.kinds.items():
        if one not in same:
            continue
        twin = own.window(one)
        ratio, _, other = described(one)
        rows.append(
            [
                *(ratio, ", ".join(f"`{placement}`" for placement in same[one]), other),
                ", ".join(percent(value, 1) for value in study.wers(works)),
                mean_wer(study, works),
                f"{state_of(sources, study, one) / 1000:,.0f}",
                "" if works is control else gap(study, works, study, control),
                gap(study, works, study, twin) if twin else "",
            ]
        )
    headers = ["ratio", "placement", "other layers", "WER % by seed", "mean", "state KB"]
    return markdown([*headers, "less the teacher continued", "less the window"], rows)


def _same_students(kinds: dict[Group, dict[int, str]]) -> dict[Group, list[str]]:
    """Every kind that has a row, with its placement and those that chose the same layers: their works are its
    own, or some of them. Of equals HEADLINE has the row, or the first."""
    order = sorted(kinds, key=lambda one: (-len(kinds[one]), one[1] != HEADLINE))
    found: dict[Group, list[str]] = {}
    for one in order:
        works = set(kinds[one].values())
        other = next((o for o in found if o[0] == one[0] and works <= set(kinds[o].values())), None)
        if other is None:
            found[one] = [one[1]]
        else:
            found[other].append(one[1])
    return found


def headline_table(sources: Sources) -> str:
    """Mamba and windows over the ratios of one placement, beside each other and the teacher continued."""
    own = part(sources)
    study, control = own.study, own.control
    plain = {one[:3]: w for one, w in own.kinds.items() if one[1] == HEADLINE and not one[3]}
    ratios = list(dict.fromkeys(one[0] for one in plain))

    def line(name: str, cell: Callable[[str], str]) -> list[str]:
        return [name, *(cell(ratio) for ratio in ratios)]

    def wer(letter: str, ratio: str) -> str:
        works = plain.get((ratio, HEADLINE, letter))
        return f"{mean_wer(study, works)} ({len(works)})" if works else ""

    def less(ratio: str, letter: str, base: dict[int, str] | None) -> str:
        works = plain.get((ratio, HEADLINE, letter))
        return gap(study, works, study, base) if works and base else ""

    m, names = LETTERS[MAMBA], {letter: NAMES[letter] for letter in (LETTERS[MAMBA], W)}
    rows = [line(f"{name}, WER % (seeds)", partial(wer, letter)) for letter, name in names.items()]
    for letter, name in names.items():
        rows.append(
            line(f"{name} less the teacher continued", partial(less, letter=letter, base=control))
        )
    rows.append(line("Mamba-2 less window", lambda r: less(r, m, plain.get((r, HEADLINE, W)))))
    return markdown(["the other layers", *(r.replace("to", ":") for r in ratios)], rows)


def grid_values(sources: Sources, name: str, grid: str = GRID) -> str:
    """`<ratio>-<placement>-<letter>[+<override>...].<part>`, such as `1to11-oas-M.gap`.

    Parts: `mean` WER %, `wer0` that of seed 0, `gap` to the teacher continued, `window` to the window twin,
    `seeds`, `state` (KB), `less-<cell>` to another cell, and `shared` and `bf16`: what such a state has more
    than the full one. Besides: `continued` (WER %), `continued.state`, `utterances`, `said` (those that the
    teacher said), and positions of the mean sentence, `conditioning` and `generated`.
    """
    own = part(sources, grid)
    study, kinds, control = own.study, own.kinds, own.control
    if name == "continued":
        return mean_wer(study, control)
    if name == "said":
        return f"{sources.json(GENERATED)['kept']:,}"
    if name == "utterances":
        return str(study.wer(next(iter(control.values()))).n)
    if name == "continued.state":
        return f"{state_of(sources, study, (*CONTROL, '', '')) / 1000:,.0f}"
    if name in LENGTHS:
        return str(_lengths(sources, study)[LENGTHS.index(name)])
    cell, less, than = name.partition(f".{LESS}")  # of a setting, there may be dots in both
    what = LESS + than
    if not less:
        cell, _, what = name.rpartition(".")
    own_kind = kind_of(cell)
    ratio, placement, letter, _ = own_kind
    works = kinds.get(own_kind)
    base = {"gap": control, "window": own.window(own_kind)}
    if what.startswith(LESS):
        base[what] = kinds.get(kind_of(what.removeprefix(LESS)))
    if what in STATES and works is not None:
        other = kinds.get((ratio, placement, letter, STATES[what]))
        if other is not None:
            return gap(study, other, study, works)
    if (
        works is None
        or what not in ("mean", "wer0", "seeds", "state", *base)
        or base.get(what, works) is None
    ):
        raise InputError(
            f"no value {name!r} of results/{SYSTEM}/{grid}: <ratio>-<placement>-<letter>.mean, .wer0, .gap, "
            ".window, .seeds, .state, .shared, .bf16 or .less-<cell> of finished cells, continued, utterances, "
            "said, conditioning, generated"
        )
    if what == "state":
        return f"{state_of(sources, study, own_kind) / 1000:,.0f}"
    if what == "mean":
        return mean_wer(study, works)
    if what == "wer0":
        return percent(study.wers({0: works[0]})[0], 1)
    return str(len(works)) if what == "seeds" else gap(study, works, study, base[what])  # type: ignore[arg-type]


def kind_of(cell: str) -> Group:
    """`1to11-oas-M`, or with further overrides: `1to11-oas-M+data=mixed+steps=640`."""
    plain, _, words = cell.partition("+")
    ratio, _, rest = plain.partition("-")
    placement, _, letter = rest.rpartition("-")
    return ratio, placement, letter, words.replace("+", " ")


def _lengths(sources: Sources, study: Study) -> tuple[int, int]:
    return mean_lengths(sources, frozenset(study.results.utterances["utterance"]))


def state_of(sources: Sources, study: Study, kind: Group) -> int:
    """Bytes of a decode state at the study's mean sentence."""
    ratio, _, letter, overrides = kind
    mixer = KINDS.get(letter, MAMBA)  # no layer of the continued teacher
    lengths = _lengths(sources, study)
    return state_bytes(sources.root / ASSETS, ratio, mixer, overrides, lengths)


def gap(own: Study, works: dict[int, str], base: Study, base_works: dict[int, str]) -> str:
    """Points over the seeds that both have, and how many these are where one has more."""
    shared = works.keys() & base_works.keys()
    if not shared:
        return "no common seed"
    few = f" ({len(shared)} of {len(works)} seeds)" if len(shared) < len(works) else ""
    return points(difference(own, works, base, base_works)) + few
