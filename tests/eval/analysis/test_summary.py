"""A system's line: n with every number, what is missing, fault shares, differences over a whole table."""

import io

import pytest
from rich.console import Console

from eval.analysis.summary import adjusted, coverage, leaderboard_line, line_against
from eval.metrics.faults import FAULT_CLASSES
from tests.eval.analysis.score_rows import row


def rows(count=40, errors=lambda i: i % 3 == 0, **changes):
    values = {"sim_prompt": 0.8, "mos": 3.0} | changes
    return [row(f"u{i}", int(errors(i)), voice=f"v{i % 8}", **values) for i in range(count)]


def said(lines, allow_partial=False):
    console = Console(file=io.StringIO(), width=200)
    code = coverage(lines, allow_partial, console)
    return code, console.file.getvalue()  # type: ignore[attr-defined]


def test_every_number_has_n_and_voices():
    line = leaderboard_line("s", {"ce": 2.5}, rows())
    assert line.n_voices == 8 and line.ce == 2.5 and line.missing == {}
    assert {"wer", "wer_utterance_mean", "wer_guarded", "perfect", "sim_prompt", "mos"} <= set(
        line.estimates
    )
    assert {(one.n, one.clusters) for one in line.estimates.values()} == {(40, 8)}
    assert said([line]) == (0, "")


def test_a_metric_that_failed_on_some_rows_is_named_and_not_allowed():
    lost = {"sim_prompt": None, "failures": {"sim": "RuntimeError: out of memory"}}
    half = [r | lost if i % 2 else r for i, r in enumerate(rows())]
    line = leaderboard_line("s", {}, half)
    assert line.missing == {"sim": 20} and line.estimates["sim_prompt"].n == 20
    code, text = said([line])
    assert code == 1 and "s: sim failed on 20 of 40 rows" in text and "allow_partial" in text
    assert said([line], allow_partial=True)[0] == 0


def test_what_a_list_does_not_have_is_not_missing():
    assert leaderboard_line("s", {}, rows(prompt=None, sim_prompt=None)).missing == {}
    silent = [*rows(), row("x", 8, status="silent"), row("y", None, words=0)]
    line = leaderboard_line("s", {}, silent)
    assert line.missing == {} and line.n_expected == 42 and line.estimates["mos"].n == 40
    code, text = said([line])
    assert code == 1 and "40 of 42 are ok (1 silent, 1 ref_empty); 1 count as WER 100 %" in text


def test_fault_shares_have_intervals_also_where_there_is_none():
    some = [r | {"fault_class": "loop" if i < 4 else "ok"} for i, r in enumerate(rows())]
    found = leaderboard_line("s", {}, some).faults
    assert tuple(found) == FAULT_CLASSES
    assert found["loop"].point == pytest.approx(0.1) and found["loop"].low > 0
    assert found["babble"].point == 0 < found["babble"].high < 0.1
    assert leaderboard_line("s", {}, rows()).faults == {}


def test_a_difference_is_settled_among_all_systems_of_the_table():
    base = rows()
    plain = leaderboard_line("teacher", {}, base)
    lines = [plain]
    for number in range(3):
        worse = rows(errors=lambda i, number=number: (i % 3 == 0) + ((i + number) % 5 == 0))
        line = leaderboard_line(f"s{number}", {}, worse)
        lines.append(line_against(line, worse, "teacher", base))
    assert not any(line.difference.settled for line in lines[1:]), "p is not adjusted yet"
    found = adjusted(lines)
    assert found[0] == plain and found[1].baseline == "teacher"
    raw = sorted(line.difference.p for line in lines[1:])
    holm = sorted(line.difference.p_holm for line in found[1:])
    assert holm[0] == pytest.approx(min(3 * raw[0], 1)) and max(holm) <= 1
    assert all(line.difference.settled == (line.difference.p_holm < 0.05) for line in found[1:])
    assert {"wer", "sim_prompt", "mos"} <= set(found[1].differences)
