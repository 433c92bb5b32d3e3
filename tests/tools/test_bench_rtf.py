"""The bench of two systems in turns."""

import json

import pytest

from tests.shipped import OPEN
from tools import bench_rtf
from tools.bench_rtf import Round, bench, ratios, spread

MVC = OPEN.parent / "mvc"


def test_two_systems_take_turns_and_their_ratio_is_of_each_round():
    rounds = [
        Round("first", 0, 2.0, 1.0, 10.0),
        Round("second", 0, 0.5, 1.0, 5.0),
        Round("first", 1, 6.0, 1.0, 10.0),  # a slow minute
        Round("second", 1, 1.5, 1.0, 5.0),
    ]
    assert rounds[0].rtf == 0.2 and rounds[0].rtf_with_vocoder == pytest.approx(0.3)
    assert ratios(rounds, "first", "second") == pytest.approx([2.0, 2.0])
    assert spread([0.3, 0.1, 0.2]) == "0.200 (0.100 to 0.300)"


@pytest.mark.weights
def test_both_systems_that_ship_are_timed_on_one_sentence(tmp_path, capsys):
    found = bench(OPEN / "teacher", MVC, tmp_path, OPEN, 1, 2)
    assert [(one.system, one.turn) for one in found] == [
        *(("first", 0), ("second", 0), ("first", 1), ("second", 1)),
    ]
    for one in found:
        assert one.speech_s > 0.3 and 0 < one.rtf < one.rtf_with_vocoder
    # A sentence is the same in every round, and the autoregressive one takes longer.
    assert found[0].speech_s == found[2].speech_s and min(ratios(found, "first", "second")) > 1
    stored = json.loads((tmp_path / "rtf.json").read_text())
    assert stored["sentences"] == 1 and len(stored["rounds"]) == 4 and stored["git"]
    assert "without vocoder" in capsys.readouterr().out


def test_what_cannot_be_timed_is_named(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        bench(OPEN / "teacher", MVC, tmp_path, OPEN, 0, 1)
    with pytest.raises(Exception, match="nothing_here"):
        bench(tmp_path / "nothing_here", MVC, tmp_path, OPEN, 1, 1)


def test_an_interrupted_bench_keeps_its_rounds(tmp_path, monkeypatch):
    def two_rounds(systems, items, turn):
        if turn == 2:
            raise KeyboardInterrupt
        return [Round(system.name, turn, 1.0, 1.0, 10.0) for system in systems]

    monkeypatch.setattr(bench_rtf, "one_round", two_rounds)
    with pytest.raises(KeyboardInterrupt):
        bench(OPEN / "teacher", MVC, tmp_path, OPEN, 1, 3)
    stored = json.loads((tmp_path / "rtf.json").read_text())
    assert [one["turn"] for one in stored["rounds"]] == [0, 0, 1, 1] and stored["git"]
