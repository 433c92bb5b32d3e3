"""Pitch trackers, mel-cepstra and one reading against another: on sounds whose answers are known."""

import numpy as np
import pytest
import soxr

from eval.metrics.prosody.cepstra import MCD_FACTOR, N_MELS, distortion_db, mel_cepstra
from eval.metrics.prosody.compare import (
    ProsodyScores,
    compare,
    levelled,
    protocol,
    reading,
    warping,
)
from eval.metrics.prosody.drift import drift
from eval.metrics.prosody.pitch import HOP, TRACKERS, frames_of

RATE = 16_000


def voice(f0_hz: np.ndarray, vowels: float = 1.5, seed: int = 0) -> np.ndarray:
    """(T,) pitch at 5 ms -> harmonics below 4 kHz under an envelope that opens and closes, as syllables do."""
    hz = np.repeat(f0_hz, HOP)
    t = np.arange(len(hz)) / RATE
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    tilt = 0.6 + 0.4 * np.sin(2 * np.pi * vowels * t)
    wave = sum(np.sin(k * phase) * k ** (-1 - tilt) * (k * hz < 4000) for k in range(1, 40))
    loud = 0.55 + 0.45 * np.sin(2 * np.pi * 3 * t)
    noise = 1e-3 * np.random.default_rng(seed).standard_normal(len(t))
    return (0.2 * wave * loud + noise).astype(np.float32)


def intoned(frames: int = 240) -> np.ndarray:
    return 120 + 25 * np.sin(2 * np.pi * np.arange(frames) / 110)


def scored(wave: np.ndarray, reference: np.ndarray) -> ProsodyScores:
    return compare(reading(wave, "nccf"), reading(reference, "nccf"))


@pytest.mark.parametrize("tracker", TRACKERS)
@pytest.mark.parametrize("hz", [80.0, 130.0, 250.0])
def test_a_steady_pitch_is_found_within_ten_cents(tracker, hz):
    found = TRACKERS[tracker](voice(np.full(160, hz)))
    assert len(found) == 160
    inner = found[20:-20]
    voiced = inner[inner > 0]
    assert len(voiced) > 0.8 * len(inner)
    assert abs(1200 * np.log2(np.median(voiced) / hz)) < 10


@pytest.mark.parametrize("tracker", TRACKERS)
def test_noise_and_silence_have_no_pitch(tracker):
    noise = 0.1 * np.random.default_rng(1).standard_normal(RATE // 2).astype(np.float32)
    assert (TRACKERS[tracker](noise) > 0).mean() < 0.2
    assert (TRACKERS[tracker](np.zeros(4000, np.float32)) > 0).mean() < 0.05


def test_cepstra_are_those_of_a_cosine_and_a_decibel_is_one():
    bands = (np.arange(N_MELS) + 0.5) / N_MELS
    spectrum = 0.3 + 0.7 * np.cos(np.pi * 3 * bands)
    found = mel_cepstra(spectrum[None])[0]
    wanted = np.zeros(25)
    wanted[3] = 0.7
    np.testing.assert_allclose(found[1:], wanted[1:], atol=1e-6)
    # 20 log10 of a cosine ripple with amplitude a in ln has a root mean square of a * 20 / ln 10 / sqrt 2.
    flat = np.zeros((1, 25))
    assert float(distortion_db(found[None], flat)[0]) == pytest.approx(0.7 * MCD_FACTOR)
    assert pytest.approx(20 / np.log(10) / np.sqrt(2)) == MCD_FACTOR


def test_a_signal_is_itself_whatever_its_level():
    wave = np.pad(voice(intoned()), 3200)
    for other in (wave, 0.3 * wave, np.pad(wave, (4000, 3000))):
        scores = scored(other, wave)
        assert scores.status == "ok" and scores.mcd_db < 0.1 and scores.path_penalty < 0.01
        assert scores.f0_rmse_cents is not None and scores.f0_rmse_cents < 1
        assert scores.length_ratio == pytest.approx(1, abs=0.01) and scores.energy_rmse_db < 0.2


def test_fifty_cents_are_found_within_three():
    wave = voice(intoned())
    higher = voice(intoned() * 2 ** (50 / 1200))
    scores = scored(higher, wave)
    assert scores.f0_rmse_cents == pytest.approx(50, abs=3)
    assert scores.contour_rmse_cents is not None and scores.contour_rmse_cents < 8
    assert scores.f0_correlation is not None and scores.f0_correlation > 0.98
    # By resampling, which moves the spectrum too.
    shifted = soxr.resample(wave, RATE * 2 ** (50 / 1200), RATE)
    assert scored(shifted, wave).f0_rmse_cents == pytest.approx(50, abs=6)


def test_a_slower_copy_costs_the_path_and_not_the_pitch():
    slow = np.interp(np.arange(0, 239, 1 / 1.25), np.arange(240), intoned())
    scores = scored(voice(slow, vowels=1.2), voice(intoned()))
    assert scores.length_ratio == pytest.approx(1.25, abs=0.05) and scores.path_penalty > 0.05


def test_a_flat_reading_has_no_spread_of_pitch():
    scores = scored(voice(np.full(240, 120.0)), voice(intoned()))
    assert scores.f0_std_ratio is not None and scores.f0_std_ratio < 0.1
    assert scores.f0_rmse_cents is not None and scores.f0_rmse_cents > 100


def test_a_reading_without_voice_has_a_status_and_silence_an_error():
    wave = voice(intoned())
    noise = 0.1 * np.random.default_rng(1).standard_normal(len(wave)).astype(np.float32)
    scores = scored(noise, wave)
    assert scores.status == "unvoiced" and scores.f0_rmse_cents is None and scores.mcd_db > 3
    for silent in (np.zeros(8000, np.float32), np.full(8000, np.nan, np.float32)):
        with pytest.raises(ValueError, match="silent"):
            scored(silent, wave)


def test_paths_are_whole_and_levels_equal():
    wave = voice(intoned(120))
    levels = [np.sqrt(np.square(levelled(w)).mean()) for w in (wave, 0.1 * wave)]
    assert levels[0] == pytest.approx(levels[1]) == pytest.approx(10 ** (-26 / 20))
    a, b = np.random.default_rng(0).standard_normal((2, 30, 25))
    path = warping(a, b[:20])
    assert path[0].tolist() == [0, 0] and path[-1].tolist() == [29, 19]
    assert set(map(tuple, np.diff(path, axis=0).tolist())) <= {(0, 1), (1, 0), (1, 1)}


def test_the_protocol_names_the_tracker():
    assert protocol("nccf") != protocol("pyin") and protocol("nccf")["tracker"] == "nccf"


def test_a_voice_that_rises_by_a_semitone_a_minute_is_found():
    minutes = np.arange(0, 12_000) * HOP / RATE / 60  # one minute
    scores = drift(voice(120 * 2 ** (minutes / 12)), "nccf")
    assert scores.windows == 6
    assert scores.pitch_cents_per_min == pytest.approx(100, abs=10)
    assert abs(scores.level_db_per_min) < 1
    with pytest.raises(ValueError, match="drift needs 3"):
        drift(voice(np.full(frames_of(RATE * 12), 120.0)), "nccf")
