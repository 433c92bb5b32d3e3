"""The open system: recordings and codec on its whole test list, letters against phonemes, twice the width.

`results/open/parts` and `results/open/fronts`, one seed each.
"""

from __future__ import annotations

from eval.store.files import InputError
from studies.documents.open_mini import LISTS, SEEN, mos_text, seen_rows, wer_of
from studies.documents.sources import Row, Sources, markdown, rate, signed

PARTS, FRONTS = "results/open/parts", "results/open/fronts"
FRONT_NAMES = ("phonemes", "letters")
PART_NAMES = ("recordings", "codec")
WIDTHS = {"phonemes": "192", "wide": "384"}
KEYS = {"val_ce": "cross-entropy", "val_alignment": "guided heads"}
ENDS = ("", "_low", "_high")


def fronts_table(sources: Sources) -> str:
    """WER % of a teacher of phonemes, of one of letters, and their difference in points, on every list."""
    lines = []
    for name, label in LISTS.items():
        rows = [_only(sources, f"{FRONTS}/{front}/{name}.csv") for front in FRONT_NAMES]
        n = f"{int(rows[0]['n_scored'])} in {int(rows[0]['n_voices'])}"
        lines.append([label, n, *(rate(wer_of(row)) for row in rows), _less(sources, name)])
    headers = ["sentences", "how many, voices", *FRONT_NAMES, "letters less phonemes"]
    return markdown(headers, lines)


def widths_table(sources: Sources) -> str:
    """Validation by step of the two widths, as far as both were trained."""
    curves = {name: _validation(sources, name) for name in WIDTHS}
    steps = sorted(set.intersection(*(set(curve) for curve in curves.values())))
    lines = [
        [f"{step:,}", *(f"{curves[name][step][key]:.2f}" for key in KEYS for name in WIDTHS)]
        for step in steps
    ]
    headers = [f"{what}, width {width}" for what in KEYS.values() for width in WIDTHS.values()]
    return markdown(["step", *headers], lines)


def words_table(sources: Sources) -> str:
    """Seen and unseen words: shipped parts on the first and on all sentences, both front ends on the first."""
    files = {SEEN: "", f"{PARTS}/seen_words.csv": ", all sentences"}
    files |= {f"{FRONTS}/{name}/seen_words.csv": ", short training" for name in FRONT_NAMES}
    return markdown(*seen_rows(sources, files))


def front_values(sources: Sources, name: str) -> str:
    """`<list>.<front>`: WER %; `<list>.gap`: points, letters less phonemes; `ce.<run>.<step>`: validation
    cross-entropy of phonemes, letters or wide. Raises InputError for another name."""
    whose, _, rest = name.partition(".")
    if whose == "ce":
        run, _, step = rest.partition(".")
        curve = _validation(sources, run) if run in (*FRONT_NAMES, *WIDTHS) else {}
        if not step.isdigit() or int(step) not in curve:
            raise InputError(f"no value fronts.{name}: fronts.ce.<phonemes|letters|wide>.<step>")
        return f"{curve[int(step)]['val_ce']:.2f}"
    if whose in LISTS and rest == "gap":
        return _less(sources, whose)
    if whose in LISTS and rest in FRONT_NAMES:
        return f"{100 * wer_of(_only(sources, f'{FRONTS}/{rest}/{whose}.csv')).point:.1f}"
    raise InputError(
        f"no value fronts.{name}: <{'|'.join(LISTS)}>.<phonemes|letters|gap>, ce.<run>.<step>"
    )


def part_values(sources: Sources, name: str) -> str:
    """`<recordings|codec>`: WER % with its interval; `codec.gap`: points less the recordings; `<...>.mos`:
    DistillMOS; `n`: sentences. Raises InputError for another name."""
    rows = {str(row["system"]): row for row in sources.csv(f"{PARTS}/leaderboard.csv")}
    system, _, what = name.partition(".")
    if name == "n":
        return str(int(rows["codec"]["n_scored"]))
    if system not in rows or what not in ("", "mos", "gap"):
        raise InputError(f"no value parts.{name}: <{'|'.join(PART_NAMES)}>[.mos|.gap], n")
    row = rows[system]
    if what == "mos":
        return mos_text(row)
    if what == "gap":
        return signed([row[f"wer_difference{end}"] for end in ENDS], 100, 1)
    return rate(wer_of(row), 1)


def _only(sources: Sources, name: str) -> Row:
    rows = sources.csv(name)
    if len(rows) != 1:
        raise InputError(f"{name}: {len(rows)} systems, one is expected")
    return rows[0]


def _less(sources: Sources, name: str) -> str:
    for row in sources.csv(f"{FRONTS}/{name}.csv"):
        if (row["measure"], row["system"], row["baseline"]) == ("wer", "letters", "phonemes"):
            return signed([row[f"difference{end}"] for end in ENDS], 100, 1)
    raise InputError(f"{FRONTS}/{name}.csv: no WER of letters less phonemes")


def _validation(sources: Sources, run: str) -> dict[int, Row]:
    return {int(row["step"]): row for row in sources.csv(f"{FRONTS}/{run}/validation.csv")}
