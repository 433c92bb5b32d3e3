"""Students of the open system whose Mamba layers had 1,000 steps by themselves, beside the controls and beside
the same students after 150."""

from __future__ import annotations

from eval.store.files import InputError
from studies.documents.open_grid import (
    GRID,
    LESS,
    LONG_START,
    SYSTEM,
    Group,
    Part,
    described,
    gap,
    kind_of,
    part,
)
from studies.documents.sources import Sources, markdown, mean_wer, percent

GENERATED = f"results/{SYSTEM}/{LONG_START}/generated.json"  # of `data.teacher_generated`
PARTS = ("mean", "seeds", "gap", "window", "short")


def start_table(sources: Sources) -> str:
    """WER of every seed; paired differences to the controls of the grid and to the short start."""
    own, base, rows = part(sources, LONG_START), part(sources, GRID), []
    for kind, works in own.kinds.items():
        bases = (base.control, base.window((*kind[:3], "")), base.kinds.get(kind))
        rows.append(
            [
                *described(kind),
                ", ".join(percent(value, 1) for value in own.study.wers(works)),
                mean_wer(own.study, works),
                *(gap(own.study, works, base.study, other) if other else "" for other in bases),
            ]
        )
    headers = ["ratio", "placement", "other layers", "WER % by seed", "mean"]
    headers += ["less the teacher continued", "less the window", "less the short start"]
    return markdown(headers, rows)


def start_values(sources: Sources, name: str) -> str:
    """`<ratio>-<placement>-<letter>[+<override>...].<part>`, such as `1to11-oas-M+steps=640.gap`.

    Parts: `mean` WER %, `seeds`; points less the teacher continued (`gap`), the trained window (`window`), the
    same cell after the short start (`short`), or another cell of this grid (`less-<cell>`). Besides:
    `generated`, the utterances that the teacher said.
    """
    if name == "generated":
        return f"{sources.json(GENERATED)['kept']:,}"
    own, base = part(sources, LONG_START), part(sources, GRID)
    cell, what = _split(name)
    kind = kind_of(cell)
    works = own.kinds.get(kind)
    if works is not None and what == "mean":
        return mean_wer(own.study, works)
    if works is not None and what == "seeds":
        return str(len(works))
    against, other = _base(own, base, kind, what)
    if works is None or other is None:
        parts = ", ".join(f".{one}" for one in (*PARTS, f"{LESS}<cell>"))
        raise InputError(
            f"no value {name!r} of results/{SYSTEM}/{LONG_START}: "
            f"<ratio>-<placement>-<letter>[+<override>...], then one of {parts}"
        )
    return gap(own.study, works, against.study, other)


def _split(name: str) -> tuple[str, str]:
    """A cell and what is asked of it; the name of another cell may have dots, as `transfer.dropout=0.1` has."""
    cell, mark, other = name.partition(f".{LESS}")
    if mark:
        return cell, LESS + other
    cell, _, what = name.rpartition(".")
    return cell, what


def _base(own: Part, base: Part, kind: Group, what: str) -> tuple[Part, dict[int, str] | None]:
    if what.startswith(LESS):
        return own, own.kinds.get(kind_of(what.removeprefix(LESS)))
    known = {
        "gap": base.control,
        "window": base.window((*kind[:3], "")),
        "short": base.kinds.get(kind),
    }
    return base, known.get(what)
