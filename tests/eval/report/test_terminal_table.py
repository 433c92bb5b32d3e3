"""The table that an evaluation ends with."""

import io

from rich.console import Console

from eval.analysis.statistics import Interval
from eval.analysis.summary import Line
from eval.report.terminal import leaderboard_table


def line(system, **changes):
    fields = {
        "layer_plan": ("attention", "mamba"),
        "n_parameters": 5_000_000,
        "n_expected": 40,
        "n_scored": 40,
        "statuses": {"ok": 40},
        "wer": Interval(1.0519, 0.9828, 1.1194),
        "wer_mean": 1.0,
        "counts": None,
        "sim_prompt": 0.847,
        "sim_other": 0.741,
        "mos": 2.34,
        "ce": 3.67,
        "ce_shuffled": 4.435,
        "tokens_per_s": 99.4,
        "rtf": 0.2,
        "hit_max": 0,
        "perfect": 0.5,
        "wer_mean_below_half": 0.1,
        "above_half": 0,
        "wer_guarded": 1.0,
        "sim_recording": None,
        "flags": {},
    }
    return Line(system, **{**fields, **changes})


def rendered(lines, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(leaderboard_table(lines, "t"))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_one_line_a_system_within_80_characters():
    gap = Interval(0.0634, -0.0084, 0.1401)
    text = rendered([line("recordings"), line("student", baseline="teacher", difference=gap)])
    row = next(r for r in text.splitlines() if r.strip().startswith("student"))
    for cell in ("105.19 [98.28, 111.94]", "+6.34", "0.847", "0.741", "2.34", "3.670", "99"):
        assert cell in row, (cell, row)
    assert len([r for r in text.splitlines() if r.strip()]) == 4  # title, header, two systems


def test_a_long_name_breaks_and_the_numbers_stay_whole():
    text = rendered([line("runs-mini_distill-1to1-blockbeg-calibrated-student")])
    assert "105.19 [98.28, 111.94]" in text and "3.670" in text


def test_without_a_baseline_there_is_no_difference():
    assert "Δ" not in rendered([line("recordings")])
