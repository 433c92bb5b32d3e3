"""The table of systems as text, Markdown and CSV, from one list of columns."""

import csv
import io

import pytest

from eval.analysis.measures import measures_of
from eval.analysis.summary import adjusted, leaderboard_line, line_against
from eval.report.columns import (
    DETAILS,
    caption,
    columns_for,
    table_of,
    terminal_columns,
    to_csv,
    to_markdown,
)
from tests.eval.analysis.score_rows import row


def rows(extra=0, voices=10, **changes):
    values = {"sim_prompt": 0.8 + 0.001 * extra, "mos": 3.0, "fault_class": "ok"} | changes
    return [
        row(f"u{i}", i % 3 + extra * (i % 2), voice=f"v{i % voices}", **values) for i in range(60)
    ]


@pytest.fixture
def lines():
    base, worse = rows(), rows(1, fault_class="loop")
    worse[0] |= {"sim_prompt": None}
    teacher = leaderboard_line("teacher", {"layer_plan": ["attention", "mamba"]}, base)
    student = leaderboard_line("stu|dent", {"n_parameters": 5_000_000, "ce": 2.5}, worse)
    return adjusted([teacher, line_against(student, worse, "teacher", base)])


def texts(line, lines):
    return {header: text(line) for header, text in columns_for(lines)}


def test_each_number_has_its_interval_and_n_where_rows_are_missing(lines):
    teacher, student = (texts(line, lines) for line in lines)
    assert teacher["WER % [95 % CI]"].startswith("12.50 [") and "(n" not in teacher["SIM"]
    assert student["SIM"].endswith("(n 59)") and student["MOS"] == "3.00 [3.00, 3.00]"
    assert teacher["layers"] == "AM" and student["layers"] == "–" and student["params"] == "5.00 M"
    assert student["faults"] == "loop 100.0 %" and teacher["faults"] == "–"


def test_differences_are_marked_when_settled_over_the_table(lines):
    teacher, student = (texts(line, lines) for line in lines)
    assert teacher["Δ baseline"] == "–" and student["Δ baseline"].startswith("+6.25 [")
    assert student["Δ baseline"].endswith("] *") == lines[1].difference.settled
    assert student["Δ SIM"].startswith("+0.001 [") and student["Δ MOS"].startswith("+0.00 [")
    alone = [header for header, _ in columns_for(lines[:1])]
    assert not [header for header in alone if header.startswith("Δ")]


def test_csv_has_every_measure_with_n_interval_and_adjusted_p(lines):
    teacher, student = csv.DictReader(io.StringIO(to_csv(lines)))
    for measure in measures_of(()):
        if measure.name not in lines[0].estimates:
            continue
        name = "wer_corpus" if measure.name == "wer" else measure.name
        assert {name, f"{name}_low", f"{name}_high", f"{name}_n"} <= set(teacher)
        if measure.paired:
            assert student[f"{measure.name}_difference_p_holm"] != "", measure.name
    assert float(student["wer_difference"]) == pytest.approx(0.0625)
    assert float(student["wer_corpus"]) == pytest.approx(0.1875) and student["n_voices"] == "10"
    assert student["sim_prompt_n"] == "59" and student["baseline"] == "teacher"
    assert float(student["fault_loop"]) == 1 and float(teacher["fault_loop_high"]) > 0
    assert teacher["wer_difference"] == "" and teacher["layer_plan"] == "AM"
    assert not {"rtf", "lm_tokens_per_s"} & set(teacher), "speed is of stage=efficiency"


def test_csv_has_as_many_cells_in_every_row(lines):
    table = list(csv.reader(io.StringIO(to_csv(lines))))
    assert {len(cells) for cells in table} == {len(table[0])} and len(set(table[0])) == len(
        table[0]
    )
    assert to_csv([]) == ""


def test_markdown_has_a_row_per_system_and_says_of_what(lines):
    text = to_markdown(lines)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 4 and "stu\\|dent" in table[3]
    assert {line.replace("\\|", "").count("|") for line in table} == {len(columns_for(lines)) + 1}
    assert "60 utterances of 10 voices" in text and "settled" in text


def test_the_caption_warns_of_few_voices(lines):
    few = [leaderboard_line("s", {}, rows(voices=n)) for n in (1, 4)]
    text = caption(few)
    assert "60 utterances of 1 voice and 60 utterances of 4 voices" in text
    assert "one voice" in text and "only 4 voices" in text and "settled" not in text
    assert caption([leaderboard_line("s", {}, rows()[:1])]).startswith("1 utterance of 1 voice;")


def test_details_are_not_in_the_table_and_the_terminal_has_points(lines):
    shown = [header for header, _ in columns_for(lines)]
    hidden = {measure.header for measure in measures_of(()) if measure.name in DETAILS}
    assert not hidden & set(shown) and all(shown)
    short = {header: text(lines[1]) for header, text in terminal_columns(lines)}
    assert list(short) == ["system", "WER % [95 % CI]", "Δ", "SIM", "MOS", "CE"]
    assert short["SIM"] == "0.801 (n 59)" and short["Δ"].startswith("+6.25")


def test_a_measure_of_a_further_recogniser_needs_no_line_here():
    heard = {"substitutions": 2, "deletions": 0, "insertions": 0, "reference_words": 8}
    line = leaderboard_line("s", {}, rows(hearings={"base.en": heard}))
    assert texts(line, [line])["WER % base.en"].startswith("25.00 [")
    assert "wer:base.en_low" in to_csv([line]).splitlines()[0]
    assert len([c for c in table_of([line]) if "base.en" in c.header]) == 1
