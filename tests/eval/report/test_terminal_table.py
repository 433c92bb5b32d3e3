"""The table that an evaluation ends with."""

import io
from dataclasses import replace

from rich.console import Console

from eval.analysis.statistics import Difference, Interval
from eval.analysis.summary import Line, leaderboard_line
from eval.report.terminal import leaderboard_table
from tests.eval.analysis.score_rows import row


def line(system: str, **changes) -> Line:
    """40 utterances of ten voices, with numbers as wide as they come."""
    rows = [row(f"u{i}", 1, voice=f"v{i % 10}") for i in range(40)]
    card = {"layer_plan": ["attention", "mamba"], "n_parameters": 5_000_000, "ce": 3.67}
    values = {"sim_prompt": 0.847, "sim_other": 0.741, "mos": 2.34}
    means = {
        name: Interval(value, value - 0.01, value + 0.01, 40, 10) for name, value in values.items()
    }
    wer = Interval(1.0519, 0.9828, 1.1194, 40, 10)
    plain = leaderboard_line(system, card, rows)
    return replace(plain, estimates={"wer": wer, **means}, **changes)


def rendered(lines, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(leaderboard_table(lines, "t"))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_one_line_a_system_within_80_characters():
    gap = Difference(0.0634, 0.0084, 0.1401, 40, 10, 1, 0.98, p=0.03, detectable=0.1, p_holm=0.03)
    text = rendered(
        [line("recordings"), line("student", baseline="teacher", differences={"wer": gap})]
    )
    row = next(r for r in text.splitlines() if r.strip().startswith("student"))
    for cell in ("105.19 [98.28, 111.94]", "+6.34 *", "0.847", "0.741", "2.34", "3.670"):
        assert cell in row, (cell, row)
    assert "tok" not in text, "speed is measured by stage=efficiency only"
    lines = [r for r in text.splitlines() if r.strip()]
    assert len(lines[:4]) == 4 and "40 utterances of 10 voices" in lines[4], "below two systems"


def test_a_long_name_breaks_and_the_numbers_stay_whole():
    text = rendered([line("runs-mini_distill-1to1-blockbeg-calibrated-student")])
    assert "105.19 [98.28, 111.94]" in text and "3.670" in text


def test_without_a_baseline_there_is_no_difference():
    assert "Δ" not in rendered([line("recordings")])
