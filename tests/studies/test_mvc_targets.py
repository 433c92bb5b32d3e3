"""The table of what the shipped model was to reach: verdicts follow from the values."""

import math

import pytest

from eval.store.files import InputError
from studies.documents.mvc_targets import (
    GOALS,
    Facts,
    Goal,
    list_values,
    target_values,
    targets_table,
)
from studies.documents.sources import Sources
from tests.shipped import OPEN

WORDS = {
    "recordings": {"wer_corpus": 0.04},
    "mvc": {"wer_corpus": 0.09, "sim_prompt": 0.85, "sim_other": 0.70, "mos": 2.5},
}
PROSODY = {
    "pyin": {
        "mvc": {"mcd_db": 4.5, "f0_rmse_cents": 150.0, "f0_std_ratio": 0.7, "length_ratio": 1.2},
        "vocoder": {"mcd_db": 1.5},
        "flat": {"f0_rmse_cents": 300.0},
    },
    "nccf": {
        "mvc": {"f0_rmse_cents": 240.0, "f0_std_ratio": 0.9},
        "flat": {"f0_rmse_cents": 300.0},
    },
}
SLOPES = [{"lower": -1, "upper": 1}, {"lower": 0, "upper": 1}, {"lower": 0.1, "upper": 1}]
FACTS = Facts(
    words=WORDS,
    prosody=PROSODY,
    rtf=0.02,
    typed={"wer_difference": 0.061},
    all_words={"mvc": {"wer_difference": 0.01}},
    faster=3.0,
    mean_over_recordings=0.07,
    ahead=-0.03,
    slopes=SLOPES,
    borders={"word_border_ms": 40.0, "word_border_within_50_ms": 0.95},
)


def test_every_goal_has_its_verdict():
    rows = {goal.what: goal.row(FACTS)[1:] for goal in GOALS}
    assert rows.pop("WER over the recordings', points") == [
        "<= +3.0",
        "<= +6.0",
        "+5.0",
        "only what must be",
    ]
    limits = rows.pop("GE2E, own less other prompts")
    assert limits == [">= 0.100", ">= 0.080", "0.150", "met"]
    limits = rows.pop("spread of F0 in the recordings', both trackers")
    assert limits == ["0.80 to 1.10", "0.70 to 1.20", "0.70", "only what must be"]
    below = "only what must be"
    assert rows["times as fast as the teacher, in turns"][:2] == [">= 3.0", ""]
    assert {what: row[2:] for what, row in rows.items()} == {
        "WER over the teacher's, 600 sentences, points": ["+1.0", "**missed**"],
        "WER over the recordings', 20 typed sentences, points": ["+6.1", "**missed**"],
        "WER of `conv` by its mean over the recordings', points": ["+7.0", below],
        "DistillMOS": ["2.50", "**missed**"],
        "MCD over the vocoder's, dB": ["+3.00", "**missed**"],
        # 50 by one tracker, 20 by the other
        "F0 error under that of `flat`, both trackers, %": ["20", "**missed**"],
        "length in the recordings'": ["1.20", "**missed**"],
        "RTF without vocoder, one thread": ["0.020", "met"],
        "times as fast as the teacher, in turns": ["3.0", "met"],
        "look-ahead of 19 phonemes, WER, points": ["-3.0", "met"],
        "measures of four minutes in one go that drift, of 4": ["1", "**missed**"],
        "the aligner's word borders, ms": ["40", "**missed**"],
        "of them within 50 ms, %": ["95.0", "met"],
    }


@pytest.mark.parametrize(
    ("value", "verdict"), [(3.0, "met"), (3.001, "only what must be"), (math.nan, "**missed**")]
)
def test_a_limit_counts_as_reached_and_nothing_measured_does_not(value, verdict):
    goal = Goal("x", lambda facts: value, (-math.inf, 3), (-math.inf, 6), ".1f")
    assert goal.row(FACTS)[-1] == verdict


def test_the_committed_results_have_every_goal():
    lines = targets_table(Sources(OPEN.parents[1])).splitlines()
    assert len(lines) == 2 + len(GOALS) and "nan" not in "".join(lines)


def test_other_lists_have_their_values(tmp_path):
    folder = tmp_path / "results/open/mvc"
    folder.mkdir(parents=True)
    head = "system,wer_corpus,wer_difference,wer_difference_low,wer_difference_high\n"
    (folder / "typed.csv").write_text(head + "mvc,0.055,0.006,-0.02,0.032\n")
    sources = Sources(tmp_path)
    assert list_values(sources, "typed.mvc") == "5.5"
    assert list_values(sources, "typed.mvc.gap") == "+0.6 [-2.0, +3.2]"
    for name in ("typed.teacher", "typed.mvc.mos", "spoken.mvc"):
        with pytest.raises(InputError, match=f"no value mvc_lists.{name}"):
            list_values(sources, name)


def test_sentences_count_what_the_table_says():
    sources = Sources(OPEN.parents[1])
    rows = [line.split(" | ") for line in targets_table(sources).splitlines()[2:]]
    verdicts = [row[-1].strip(" |") for row in rows]
    assert target_values(sources, "goals") == str(len(rows))
    assert target_values(sources, "met") == str(verdicts.count("met"))
    assert target_values(sources, "below") == str(verdicts.count("only what must be"))
    assert target_values(sources, "missed") == str(verdicts.count("**missed**")) != "0"
    assert any(f"| {target_values(sources, 'borders')} |" in row for row in map(" | ".join, rows))
    assert int(target_values(sources, "borders_600")) < int(target_values(sources, "borders"))
    with pytest.raises(InputError, match=r"no value mvc_targets\.won; there are: goals, met"):
        target_values(sources, "won")
