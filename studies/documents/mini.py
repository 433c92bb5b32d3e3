"""Numbers of the mini system: its parts, what it knows, its speed, the demo."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from eval.analysis.statistics import Interval
from eval.store.files import InputError
from mamtra.backbone.decoder import Decoder
from mamtra.backbone.layer_plan import parse_plan
from mamtra.backbone.sizes import BackboneSizes
from studies.documents.sources import (
    TEACHER,
    Row,
    Sources,
    between,
    markdown,
    points,
    rate,
    stored_interval,
)

RUN = "results/mini-grammar/2026-11-21-second-run/leaderboard.csv"
MOS = "results/mini-grammar/mos/leaderboard.csv"
EFFICIENCY = "results/mini-grammar/efficiency/efficiency.csv"
DEMO = "results/mini-grammar/demo_runs.csv"
RECITAL = "results/mini-grammar/recital.csv"
TOKENS, LIST = "assets/mini/tokens.parquet", "assets/mini/meta.lst"
N_TEST, N_PROMPTS = 300, 20
DEMO_TARGET = 4.0  # points above the teacher
LABELS = {
    "recordings": "original recordings",
    "codec": "codec resynthesis",
    "teacher": "teacher: 12 attention layers, 5,500 steps",
    "student": "student 1:1 BlockBeg, 600 steps, one seed",
    "demo_student": "the same, 160 steps: one run of `make demo`",
}
TARGETS = {
    "recordings": "<= 4",
    "codec": "recordings + 2",
    "teacher": "<= 10",
    "student": "teacher + 1",
    "demo_student": "teacher + 4",
}


def parts_table(sources: Sources) -> str:
    """Of the second run; the intervals are those of its file."""
    lines = _by(sources.csv(RUN), "system")
    rows = []
    for name, label in LABELS.items():
        line = lines[name]
        ce = "" if math.isnan(line["ce"]) else f"{line['ce']:.2f} / {line['ce_shuffled']:.2f}"
        gap = "" if math.isnan(line["wer_difference"]) else points(_ends(line, "wer_difference"), 2)
        sim = f"{line['sim_prompt']:.3f} / {line['sim_other']:.3f}"
        wer = rate(_ends(line, "wer_corpus"))
        rows.append([label, wer, gap, TARGETS[name], sim, f"{line['mos']:.2f}", ce])
    headers = [
        "system",
        "WER %",
        "less the teacher",
        "target",
        "SIM own / other",
        "MOS",
        "CE right / shuffled",
    ]
    return markdown(headers, rows)


def _by(rows: Sequence[Row], name: str) -> dict[str, Row]:
    return {str(row[name]): row for row in rows}


def _ends(line: Row, name: str) -> Interval:
    """The interval as the file has it: a percentile bootstrap over prompts."""
    return stored_interval(line, name, N_PROMPTS)


def parts_values(sources: Sources, name: str) -> str:
    """`codec_gap`: what resynthesis has more than the recordings, in points."""
    if name != "codec_gap":
        raise InputError(f"no value {name!r} of {RUN}; there is: codec_gap")
    lines = _by(sources.csv(RUN), "system")
    gap = lines["codec"]["wer_corpus"] - lines["recordings"]["wer_corpus"]
    return f"{100 * gap:+.2f}"


def knowledge_values(sources: Sources, name: str) -> str:
    """What the test sentences share with the training sentences: `words` known, `unigrams` to `trigrams` %."""
    table = sources.parquet(TOKENS)
    train = [row["text"].split() for row in table if row["split"] == "train"]
    test = [line.split("|")[3].split() for line in sources.lines(LIST)[:N_TEST]]
    if name == "words":
        return str(len(_grams(train, 1)))
    sizes = {"unigrams": 1, "bigrams": 2, "trigrams": 3}
    if name not in sizes:
        raise InputError(f"no value {name!r}; there are: words, {', '.join(sizes)}")
    n = sizes[name]
    known = _grams(train, n)
    said = [gram for words in test for gram in zip(*(words[i:] for i in range(n)), strict=False)]
    return f"{100 * sum(gram in known for gram in said) / len(said):.0f}"


def _grams(texts: Sequence[Sequence[str]], n: int) -> set[tuple[str, ...]]:
    return {g for words in texts for g in zip(*(words[i:] for i in range(n)), strict=False)}


def recital_table(sources: Sources) -> str:
    """WER of texts that the teacher has less and less of a model of."""
    headers = ["texts", "sentences", "recordings", "codec", "teacher"]
    columns = ("texts", "sentences", "recordings_wer", "codec_wer", "teacher_wer")
    return markdown(
        headers, [[row[c] or "–" for c in columns] for row in sources.text_csv(RECITAL)]
    )


def recital_values(sources: Sources, name: str) -> str:
    """`<key>.<column>` of results/mini-grammar/recital.csv."""
    rows = {row["key"]: row for row in sources.text_csv(RECITAL)}
    key, _, column = name.partition(".")
    if column not in rows.get(key, {}):
        raise InputError(f"no value {name!r} of {RECITAL}: <{'|'.join(rows)}>.<column>")
    return rows[key][column]


def demo_table(sources: Sources) -> str:
    """Every recorded run of `make demo`."""
    rows = []
    for run in sources.csv(DEMO):
        known = not math.isnan(run["teacher_wer_percent"])
        gap = run["student_wer_percent"] - run["teacher_wer_percent"] if known else None
        rows.append(
            [
                str(run["date"]),
                str(run["machine"]),
                f"{run['teacher_wer_percent']:.2f}" if known else "not recorded",
                f"{run['student_wer_percent']:.2f}",
                ""
                if gap is None
                else f"{gap:+.2f}" + (" (misses + 4)" if gap > DEMO_TARGET else ""),
                str(run["time"]) if isinstance(run["time"], str) else "not recorded",
            ]
        )
    return markdown(["date", "machine", "teacher %", "student %", "points", "time"], rows)


def demo_values(sources: Sources, name: str) -> str:
    """`teacher`, `student`: range of WER % over the runs; `gap`: of their difference."""
    runs = sources.csv(DEMO)
    teacher = [run["teacher_wer_percent"] for run in runs]
    student = [run["student_wer_percent"] for run in runs]
    gaps = [own - base for own, base in zip(student, teacher, strict=True) if not math.isnan(base)]
    facts = {
        "teacher": between([value for value in teacher if not math.isnan(value)], "{:.2f}"),
        "student": between(student, "{:.2f}"),
        "gap": between(gaps, "{:+.1f}"),
        "met": f"{sum(gap <= DEMO_TARGET for gap in gaps)} of {len(gaps)} runs",
        "worst_gap": f"{max(gaps):+.1f}",
    }
    if name not in facts:
        raise InputError(f"no value {name!r} of {DEMO}; there are: {', '.join(facts)}")
    return facts[name]


def mos_values(sources: Sources, name: str) -> str:
    """`<system>.mos`, `<system>.sim`; `kl.mos`, `kl.sim`: range over the ratios; `n`."""
    lines = _by(sources.csv(MOS), "system")
    system, _, part = name.partition(".")
    if name == "n":
        return str(int(next(iter(lines.values()))["n_scored"]))
    form, column = {"mos": ("{:.2f}", "mos"), "sim": ("{:.3f}", "sim_prompt")}.get(part, ("", ""))
    chosen = [s for s in lines if s == system or (system == "kl" and s.endswith("-kl"))]
    if not column or not chosen:
        raise InputError(f"no value {name!r} of {MOS} (<system>.mos, <system>.sim, n)")
    return between([lines[s][column] for s in chosen], form)


def efficiency_table(sources: Sources) -> str:
    """Decoding speed, first token and state of each system at each context."""
    lines, rows = sources.csv(EFFICIENCY), []
    for context in dict.fromkeys(line["context"] for line in lines):
        at = _by([line for line in lines if line["context"] == context], "system")
        base = at["teacher"]
        for line in at.values():
            rows.append(
                [
                    f"{context:,}",
                    f"`{line['system']}`",
                    f"{line['tokens_per_s']:.0f} [{line['tokens_per_s_low']:.0f}, "
                    f"{line['tokens_per_s_high']:.0f}]",
                    f"{line['tokens_per_s'] / base['tokens_per_s']:.2f}",
                    f"{1000 * line['first_token_s']:.0f}",
                    state_megabytes(sources, line),
                ]
            )
    headers = [
        "positions",
        "system",
        "tokens/s",
        "of the teacher's",
        "first token, ms",
        "state, MB",
    ]
    return markdown(headers, rows)


def state_megabytes(sources: Sources, line: Row) -> str:
    """All that a state holds for the positions of a row, by today's code: the sizes are the teacher's, the plan
    that of the grid. What the row says was counted without the rotary table."""
    cells = sources.study("grid")
    ratio, _, placement = str(line["system"]).partition("-")
    cell = TEACHER if ratio == "teacher" else (ratio, placement)
    plan = parse_plan(cells.cell(cells.works(*cell)[0])["plan"])
    sizes = BackboneSizes(**sources.json("assets/mini/teacher/model.json")["sizes"])
    with torch.device("meta"):
        state = Decoder(sizes, plan).new_state(1, int(line["context"]), device="meta")
    return f"{state.num_bytes() / 1e6:.1f}"


def efficiency_values(sources: Sources, name: str) -> str:
    """`<system>-<context>.speed` (of the teacher's), `.state` (MB)."""
    cell, _, part = name.partition(".")
    system, _, context = cell.rpartition("-")
    lines = [line for line in sources.csv(EFFICIENCY) if str(line["context"]) == context]
    at = _by(lines, "system")
    if system not in at or part not in ("speed", "state"):
        raise InputError(f"no value {name!r} of {EFFICIENCY} (<system>-<context>.speed, .state)")
    line = at[system]
    return {
        "speed": f"{line['tokens_per_s'] / at['teacher']['tokens_per_s']:.2f}",
        "state": state_megabytes(sources, line),
    }[part]
