"""Mel-cepstra, and how far two of them are in decibels. N samples at 16 kHz, T frames of 5 ms, M bands."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.fft import dct

from eval.metrics.audio import SAMPLE_RATE_HZ
from eval.metrics.prosody.pitch import HOP, frames_of

ORDER = 24
N_FFT, WINDOW, N_MELS = 1024, 640, 80
FLOOR = 1e-5
# Of ln|H| = c_0 + sum c_m cos(m w): the root mean square of 20 log10 of a ratio of two of them.
MCD_FACTOR = 10 * np.sqrt(2) / np.log(10)


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    import librosa

    return librosa.filters.mel(
        sr=SAMPLE_RATE_HZ, n_fft=N_FFT, n_mels=N_MELS, fmin=40.0, fmax=8000.0
    )


def log_mel(wave: np.ndarray) -> np.ndarray:
    """(N,) -> (T, M) natural logarithms of mel magnitudes."""
    import librosa

    spectrum = np.abs(
        librosa.stft(wave.astype(np.float32), n_fft=N_FFT, hop_length=HOP, win_length=WINDOW)
    )
    mel = _filters() @ spectrum
    return np.log(np.maximum(mel, FLOOR)).T[: frames_of(len(wave))]


def mel_cepstra(log_mels: np.ndarray) -> np.ndarray:
    """(T, M) -> (T, 1 + ORDER) coefficients c_0..c_24 of ln|H| = c_0 + sum c_m cos(m w)."""
    found = np.asarray(dct(log_mels, type=2, axis=1, norm="ortho"))
    return found[:, : ORDER + 1] * np.sqrt(2 / log_mels.shape[1])


def distortion_db(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Frames (K, 1 + ORDER) side by side -> (K,) dB without c_0, which is the level."""
    return MCD_FACTOR * np.linalg.norm(first[:, 1:] - second[:, 1:], axis=1)
