"""Numbers of the open-vocabulary system: WER by list, similarity, words that training has and has not."""

from __future__ import annotations

from collections.abc import Mapping

from eval.analysis.statistics import Interval
from eval.store.files import InputError
from studies.documents.sources import Row, Sources, markdown, rate, stored_interval

FOLDER = "results/open/teacher"
SEEN = f"{FOLDER}/seen_words.csv"
NATURALNESS = (
    "results/open/naturalness/students.csv",  # beside the teacher
    "results/open/naturalness/systems.csv",
)
LISTS = {
    "test": "first of the test list",
    "plain": "typed by somebody, not of the corpus",
    "shuffled": "test sentences in disorder",
}
SYSTEMS = ("recordings", "codec", "teacher")
GAPS = {"gap": "codec", "above": "recordings"}  # of the teacher


def _rows(sources: Sources, name: str) -> dict[str, Row]:
    rows = {str(row["system"]): row for row in sources.csv(f"{FOLDER}/{name}.csv")}
    if missing := set(SYSTEMS) - rows.keys():
        raise InputError(f"{FOLDER}/{name}.csv: no row of {', '.join(sorted(missing))}")
    return rows


def wer_of(row: Row) -> Interval:
    """Corpus WER of a row of a leaderboard."""
    return stored_interval(row, "wer_corpus", int(row["n_voices"]))


def lists_table(sources: Sources) -> str:
    """WER % of recordings, codec and teacher on every list that was scored."""
    lines = []
    for name, label in LISTS.items():
        rows = _rows(sources, name)
        n = f"{int(rows['teacher']['n_scored'])} in {int(rows['teacher']['n_voices'])}"
        lines.append([label, n, *(rate(wer_of(rows[system])) for system in SYSTEMS)])
    return markdown(["sentences", "how many, voices", *SYSTEMS], lines)


def seen_rows(sources: Sources, files: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows: words that are wrong, by whether a training text has them. `files`: tables of
    `studies.seen_words`, each with what is said behind the names of its systems."""
    lines, kinds = [], ("seen", "unseen")
    for row, behind in ((row, files[name]) for name in files for row in sources.csv(name)):
        found = {kind: _share(row, kind) for kind in kinds}
        counts = [f"{rate(found[kind], 1)} of {int(row[f'{kind}_words'])}" for kind in kinds]
        seen = found["seen"].point
        times = f"{found['unseen'].point / seen:.1f}" if seen else "–"
        lines.append([f"{row['system']}{behind}", *counts, times])
    return ["system", "seen words wrong %", "unseen words wrong %", "times"], lines


def _share(row: Row, kind: str) -> Interval:
    point, low, high, n, voices = (
        float(row[f"{kind}_{end}"]) for end in ("point", "low", "high", "n", "clusters")
    )
    return Interval(point, low, high, int(n), int(voices))


def mos_text(row: Row) -> str:
    """DistillMOS of a row of a leaderboard, with its interval."""
    return "{mos:.2f} [{mos_low:.2f}, {mos_high:.2f}]".format_map(row)


def _mos(sources: Sources, name: str) -> str:
    system, _, what = name.partition(".")
    rows = {str(row["system"]): row for file in NATURALNESS for row in sources.csv(file)}
    if system not in rows or what not in ("", "n", "gap"):
        known = f"mos.<{'|'.join(rows)}>, mos.<...>.n, mos.<...>.gap"
        raise InputError(f"no value mos.{name} of {', '.join(NATURALNESS)}: {known}")
    row = rows[system]
    if what == "n":
        return str(int(row["mos_n"]))
    if what == "gap":
        ends = "[{mos_difference_low:+.2f}, {mos_difference_high:+.2f}]"
        return f"{{mos_difference:+.2f}} {ends}".format_map(row)
    return mos_text(row)


def open_values(sources: Sources, name: str) -> str:
    """`<list>.<system>`: WER %; `<list>.gap`: teacher less codec, points, `<list>.above`: less recordings;
    `own`, `other`: similarity; `mos.<system>`: DistillMOS with its interval, `mos.<system>.n` of how many,
    `mos.<system>.gap` less the teacher."""
    if name.startswith("mos."):
        return _mos(sources, name.removeprefix("mos."))
    if name in ("own", "other"):
        column = {"own": "sim_prompt", "other": "sim_other"}[name]
        return f"{float(_rows(sources, 'test')['teacher'][column]):.3f}"
    which, _, system = name.partition(".")
    if which not in LISTS or system not in (*SYSTEMS, *GAPS):
        known = "|".join((*SYSTEMS, *GAPS))
        raise InputError(f"no value {name!r}; there are <{'|'.join(LISTS)}>.<{known}>, own, other")
    rows = _rows(sources, which)
    if system in GAPS:
        return f"{100 * (wer_of(rows['teacher']).point - wer_of(rows[GAPS[system]]).point):+.1f}"
    return f"{100 * wer_of(rows[system]).point:.1f}"
