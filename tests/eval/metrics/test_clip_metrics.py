"""Loudness, speaking rate, agreement and classes as they stand in rows."""

import numpy as np
import pytest
import soundfile

from eval.metrics.guard import SpeechDetector
from eval.metrics.text.agreement import word_agreement
from tests.eval.scored_world import RATE_HZ, CountingASR, items, run, stand_ins, tone


class FirstHalf(SpeechDetector):
    @property
    def recipe(self):
        return {"tool": "first-half"}

    def spans(self, wave):
        return [(0, len(wave) // 4), (len(wave) // 4, len(wave) // 2)]


def test_loudness_of_a_known_tone_and_of_twice_its_amplitude(world):
    """A 997 Hz sine of full scale in one channel has -3.01 LUFS (BS.1770-4)."""
    for name, peak in (("a", 1.0), ("b", 0.5)):
        wave = peak * np.sin(2 * np.pi * 997 * np.arange(2 * RATE_HZ) / RATE_HZ)
        soundfile.write(world / f"out/wavs/{name}.wav", wave, RATE_HZ, subtype="FLOAT")
    soundfile.write(world / "out/wavs/c.wav", tone(200, 0.05), RATE_HZ)
    rows, scorers = run(world, items(world))
    # The K weighting of pyloudnorm at 16 kHz is within 0.1 LU of the standard's table at 48 kHz.
    assert rows[0]["lufs"] == pytest.approx(-3.01, abs=0.1)
    assert rows[0]["lufs"] - rows[1]["lufs"] == pytest.approx(6.02, abs=0.02)
    assert rows[2]["lufs"] is not None and "pyloudnorm" in str(scorers.recipes()["lufs"])


def test_faint_noise_has_no_loudness_and_says_so(world):
    click = np.zeros(2 * RATE_HZ)
    click[100] = 0.002
    soundfile.write(world / "out/wavs/a.wav", click, RATE_HZ, subtype="FLOAT")
    rows, _ = run(world, items(world))
    assert rows[0]["lufs"] is None and "-70 LUFS" in rows[0]["failures"]["lufs"]


def test_rate_is_of_what_was_said_while_somebody_spoke(world):
    rows, _ = run(world, items(world), CountingASR("hello"), detector=FirstHalf())
    assert rows[0]["words_per_s"] == pytest.approx(1 / 0.25)
    assert run(world, items(world))[0][0]["words_per_s"] is None


def test_agreement_is_of_the_first_two_whatever_the_text(world):
    assert word_agreement("a b c", "a b c") == 1 and word_agreement("a b", "c d") == 0
    assert word_agreement("a b c", "a x c d") == pytest.approx(4 / 7)
    assert word_agreement("", "") == 1 and word_agreement("", "a") == 0
    both = (CountingASR("good world"), CountingASR("good word", "second"))
    rows, _ = run(world, items(world), both)
    assert rows[0]["agreement"] == 0.5 and rows[0]["wer"] == 0.5
    assert run(world, items(world))[0][0]["agreement"] is None
    assert "agreement" not in stand_ins(world).recipes()


def test_classes_in_rows(world):
    rows, _ = run(world, items(world))
    assert {row["fault_class"] for row in rows} == {"ok"}
    (world / "out/wavs/b.wav").unlink()
    rows, _ = run(world, items(world))
    assert [row["fault_class"] for row in rows] == ["ok", "empty", "ok"]
    assert run(world, items(world, text="?"))[0][0]["fault_class"] is None
    failing = (CountingASR("raise", "failing"),)
    assert run(world, items(world), failing)[0][0]["fault_class"] is None
    long = [
        item.__class__(**(item.__dict__ | {"recording": world / "long.wav"}))
        for item in items(world)
    ]
    soundfile.write(world / "long.wav", tone(200, 4.0), RATE_HZ)
    assert run(world, long)[0][0]["fault_class"] == "wrong_length"
