"""Silence, noise, loops, and clips longer than the recogniser's window."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from eval.metrics.guard import SpeechDetector, chunks, loops, transcribe_long

RECORDINGS = sorted((Path(__file__).parents[3] / "assets/mini").rglob("*.flac"))
RATE_HZ = 16_000


@pytest.mark.weights
def test_somebody_speaks_in_a_recording_and_nobody_in_silence_or_noise():
    detector = SpeechDetector()
    speech, rate_hz = soundfile.read(RECORDINGS[0], dtype="float32")
    assert rate_hz == RATE_HZ
    padded = np.concatenate([np.zeros(RATE_HZ, np.float32), speech])
    [first, *_] = detector.spans(padded)
    assert 0.8 * RATE_HZ < first[0] < 1.5 * RATE_HZ
    rng = np.random.default_rng(0)
    assert detector.spans(np.zeros(2 * RATE_HZ, np.float32)) == []
    assert detector.spans((0.1 * rng.standard_normal(2 * RATE_HZ)).astype(np.float32)) == []


def test_a_loop_is_told_from_a_long_sentence():
    assert loops("thank you so much " * 30)
    assert not loops("thank you thank you")
    assert loops("谢谢观看" * 100) and not loops("今天天气很好我们去公园走一走吧")
    assert not loops(
        "the old man walked slowly down the quiet street past the bakery and the school until he "
        "reached the river where children were playing in the cold water"
    )


def test_a_long_clip_is_cut_in_its_longest_pause():
    def s(seconds):
        return int(seconds * RATE_HZ)

    spans = [(0, s(10)), (s(10.2), s(17)), (s(19), s(28)), (s(28.5), s(44))]
    assert chunks(s(45), spans) == [(0, s(18)), (s(18), s(45))]
    assert chunks(s(30), spans) == [(0, s(30))]
    assert chunks(s(70), []) == [(0, s(30)), (s(30), s(60)), (s(60), s(70))]


@pytest.mark.weights
def test_words_after_thirty_seconds_are_heard():
    """45 s of recordings with pauses: every sentence is found, none twice."""
    from eval.metrics.asr.whisper import WhisperASR

    detector, asr = SpeechDetector(), WhisperASR(cpu_threads=1)
    pieces, alone, seconds = [], [], 0.0
    for path in RECORDINGS:
        wave = soundfile.read(path, dtype="float32")[0]
        if seconds > 45:
            break
        pieces += [wave, np.zeros(RATE_HZ // 2, np.float32)]
        alone += asr.transcribe(wave).lower().strip(" .").split()
        seconds += len(wave) / RATE_HZ + 0.5
    whole = np.concatenate(pieces)
    heard = transcribe_long(whole, detector.spans(whole), asr.transcribe)
    words = "".join(c for c in heard.lower() if c.isalpha() or c == " ").split()
    plain = "".join(c for c in " ".join(alone) if c.isalpha() or c == " ").split()
    common = sum(min(words.count(w), plain.count(w)) for w in set(plain))
    assert common > 0.8 * len(plain) and len(words) < 1.2 * len(plain)
    assert words[-1] == plain[-1]
