"""Two pitch trackers that share no code: a claim about pitch needs both to rank systems alike.

Neither is Praat's, whose tracks our models learn from. N samples at 16 kHz, T frames of 5 ms.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from eval.metrics.audio import SAMPLE_RATE_HZ

HOP = 80  # 5 ms
F0_MIN_HZ, F0_MAX_HZ = 60.0, 400.0
# Of the cross-correlation: window, candidates of a frame, and the costs of Talkin's RAPT (1995).
WINDOW = 400
CANDIDATES = 6
BLOCK = 1000
VOICED_FROM = 0.45
OCTAVE_COST, TRANSITION_COST = 0.35, 0.3


def frames_of(n_samples: int) -> int:
    """Frames of a waveform: one per started hop."""
    return -(-n_samples // HOP)


def pyin(wave: np.ndarray) -> np.ndarray:
    """(N,) -> (T,) Hz, 0 where unvoiced: probabilistic YIN (Mauch and Dixon 2014), librosa's."""
    import librosa

    f0, _, _ = librosa.pyin(
        wave.astype(np.float32),
        fmin=F0_MIN_HZ,
        fmax=F0_MAX_HZ,
        sr=SAMPLE_RATE_HZ,
        frame_length=1024,
        hop_length=HOP,
    )
    found = np.nan_to_num(f0, nan=0.0)
    return _fitted(found, frames_of(len(wave)))


def nccf(wave: np.ndarray) -> np.ndarray:
    """(N,) -> (T,) Hz, 0 where unvoiced: peaks of the normalised cross-correlation, joined by the cheapest
    path through voiced candidates and one that is unvoiced."""
    lags = np.arange(int(SAMPLE_RATE_HZ / F0_MAX_HZ), int(SAMPLE_RATE_HZ / F0_MIN_HZ) + 1)
    scores = _correlations(wave, lags)
    periods, strengths = _candidates(scores, lags)
    # The last candidate is "unvoiced".
    local = np.concatenate((1 - strengths, np.full((len(strengths), 1), 1 - VOICED_FROM)), axis=1)
    log_period = np.log2(periods)
    total, back = local[0], np.zeros(local.shape, dtype=np.int64)
    for t in range(1, len(local)):
        step = np.full((local.shape[1], local.shape[1]), TRANSITION_COST)
        jump = np.abs(log_period[t][:, None] - log_period[t - 1][None])
        step[:-1, :-1] = np.minimum(OCTAVE_COST * jump * 4, 4.0)
        step[-1, -1] = 0.0
        cost = total[None] + step
        back[t] = cost.argmin(axis=1)
        total = cost.min(axis=1) + local[t]
    path = np.zeros(len(local), dtype=np.int64)
    path[-1] = int(total.argmin())
    for t in range(len(local) - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    voiced = path < CANDIDATES
    chosen = periods[np.arange(len(path)), np.minimum(path, CANDIDATES - 1)]
    return np.where(voiced, SAMPLE_RATE_HZ / chosen, 0.0)


def _correlations(wave: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """(T, lags) correlation of a window with itself `lag` later, between -1 and 1."""
    length = WINDOW + int(lags[-1])
    padded = np.pad(wave.astype(np.float64), (WINDOW // 2, length))
    frames = sliding_window_view(padded, length)[::HOP][: frames_of(len(wave))]
    # A floor of -60 dB under the loudest sample: silence has no pitch.
    floor = 1e-6 * WINDOW * max(float(np.square(padded).max()), 1e-12)
    # In blocks: the spectra of a minute at once would take half a gigabyte.
    parts = [_block(frames[at : at + BLOCK], lags, floor) for at in range(0, len(frames), BLOCK)]
    return np.concatenate(parts)


def _block(frames: np.ndarray, lags: np.ndarray, floor: float) -> np.ndarray:
    length = frames.shape[1]
    size = 1 << (length + WINDOW - 1).bit_length()
    spectrum = np.fft.rfft(frames, size) * np.conj(np.fft.rfft(frames[:, :WINDOW], size))
    products = np.fft.irfft(spectrum, size)[:, lags]
    sums = np.cumsum(np.pad(np.square(frames), ((0, 0), (1, 0))), axis=1)
    energy = sums[:, WINDOW + lags] - sums[:, lags]
    return products / np.sqrt((sums[:, WINDOW, None] + floor) * (energy + floor))


def _candidates(scores: np.ndarray, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, CANDIDATES) periods in samples, refined by a parabola, and correlations of the strongest peaks."""
    inner = scores[:, 1:-1]
    left, right = scores[:, :-2], scores[:, 2:]
    # Of equal peaks at multiples of a period the shortest is meant.
    weighted = np.where((inner >= left) & (inner > right), inner, -1.0) * (1 - 1e-4 * lags[1:-1])
    best = np.argsort(-weighted, axis=1)[:, :CANDIDATES]
    a, b, c = (np.take_along_axis(part, best, axis=1) for part in (left, inner, right))
    curve = a - 2 * b + c
    shift = np.where(np.abs(curve) > 1e-9, 0.5 * (a - c) / np.where(curve == 0, 1.0, curve), 0.0)
    strengths = np.take_along_axis(weighted, best, axis=1)
    return lags[1:-1][best] + np.clip(shift, -0.5, 0.5), np.clip(strengths, 0.0, 1.0)


def _fitted(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(values, (0, max(0, length - len(values))))[:length]


TRACKERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"pyin": pyin, "nccf": nccf}
