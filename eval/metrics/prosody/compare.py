"""One reading against another of the same text, by one warping path. T frames of 5 ms.

Not comparable with published values: spectra, order, warping and mask differ between all papers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eval.metrics.audio import SAMPLE_RATE_HZ
from eval.metrics.prosody.cepstra import distortion_db, log_mel, mel_cepstra
from eval.metrics.prosody.pitch import HOP, TRACKERS, frames_of
from eval.metrics.weights import code_sha256, tool

LEVEL_DBFS = -26.0
TRIM_DB, KEPT_S = 40.0, 0.05
GATE_DB = 30.0  # frames of the reference this far under its loudest say nothing
FEWEST_VOICED = 20
GROSS = 0.2  # of the reference's pitch
CENTS = 1200.0


@dataclass(frozen=True)
class ProsodyScores:
    """Of a reading against its reference. Pitch values are of frames that both voice, on the warping path;
    `contour`: with each side's own mean left out. status: "ok", or why there are no values of pitch."""

    status: str
    mcd_db: float
    path_penalty: float  # 0: every frame has one partner; 1: none has
    length_ratio: float  # of the trimmed signals
    energy_rmse_db: float
    f0_rmse_cents: float | None = None
    contour_rmse_cents: float | None = None
    f0_correlation: float | None = None
    f0_std_ratio: float | None = None
    voicing_error: float | None = None
    gross_error: float | None = None


def frame_power(wave: np.ndarray) -> np.ndarray:
    """(N,) -> (T,) mean power of 5-ms frames."""
    count = frames_of(len(wave))
    padded = np.pad(wave.astype(np.float64), (0, count * HOP - len(wave)))
    return np.square(padded).reshape(count, HOP).mean(axis=1)


def levelled(wave: np.ndarray) -> np.ndarray:
    """(N,) at -26 dBFS, without what lies TRIM_DB under its loud frames at both ends, 50 ms of it kept.

    Raises ValueError for silence.
    """
    power = frame_power(wave)
    if not np.isfinite(wave).all() or float(power.max(initial=0.0)) < 1e-10:
        raise ValueError("silent")
    loud = np.flatnonzero(power > np.percentile(power, 95) * 10 ** (-TRIM_DB / 10))
    kept = round(KEPT_S * SAMPLE_RATE_HZ)
    first, last = max(0, loud[0] * HOP - kept), min(len(wave), (loud[-1] + 1) * HOP + kept)
    cut = wave[first:last].astype(np.float64)
    return cut * 10 ** (LEVEL_DBFS / 20) / np.sqrt(np.square(cut).mean())


def warping(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cepstra (T, C) of two readings -> (K, 2) frames that belong together: exact, steps of equal weight."""
    import librosa

    _, path = librosa.sequence.dtw(first[:, 1:].T, second[:, 1:].T, metric="euclidean")
    return np.asarray(path)[::-1]


@dataclass(frozen=True)
class Reading:
    """What is compared of one waveform, trimmed and at one level: cepstra (T, C), power (T,), pitch (T,) in Hz
    (0 where unvoiced), n_samples."""

    cepstra: np.ndarray
    power: np.ndarray
    pitch: np.ndarray
    n_samples: int


def reading(wave: np.ndarray, tracker: str) -> Reading:
    """(N,) at 16 kHz; `tracker`: a key of TRACKERS. Raises ValueError for silence."""
    cut = levelled(wave)
    return Reading(mel_cepstra(log_mel(cut)), frame_power(cut), TRACKERS[tracker](cut), len(cut))


def compare(mine: Reading, true: Reading) -> ProsodyScores:
    """A reading against its reference, by the same tracker."""
    path = warping(mine.cepstra, true.cepstra)
    gate = true.power > np.percentile(true.power, 95) * 10 ** (-GATE_DB / 10)
    pairs = path[gate[path[:, 1]]]
    a, b = pairs.T
    levels = [10 * np.log10(np.maximum(x.power, 1e-12)) for x in (mine, true)]
    gap = (levels[0][a] - levels[0][a].mean()) - (levels[1][b] - levels[1][b].mean())
    scores = ProsodyScores(
        status="ok",
        mcd_db=float(distortion_db(mine.cepstra[a], true.cepstra[b]).mean()),
        path_penalty=float(2 - (len(mine.cepstra) + len(true.cepstra)) / len(path)),
        length_ratio=mine.n_samples / true.n_samples,
        energy_rmse_db=float(np.sqrt(np.square(gap).mean())),
    )
    return ProsodyScores(**(asdict(scores) | _pitch_scores(mine.pitch[a], true.pitch[b])))


def _pitch_scores(mine: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """Of pairs of frames, Hz and 0 where unvoiced."""
    voicing = float(((mine > 0) != (true > 0)).mean()) if len(true) else None
    both = (mine > 0) & (true > 0)
    if int(both.sum()) < FEWEST_VOICED:
        return {"status": "unvoiced", "voicing_error": voicing}
    x, y = CENTS * np.log2(mine[both]), CENTS * np.log2(true[both])
    moves = float(x.std()) > 1e-9 and float(y.std()) > 1e-9
    return {
        "f0_rmse_cents": _rms(x - y),
        "contour_rmse_cents": _rms((x - x.mean()) - (y - y.mean())),
        "f0_correlation": float(np.corrcoef(x, y)[0, 1]) if moves else 0.0,
        "f0_std_ratio": float(x.std() / y.std()) if float(y.std()) > 1e-9 else None,
        "voicing_error": voicing,
        "gross_error": float((np.abs(mine[both] / true[both] - 1) > GROSS).mean()),
    }


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.square(x).mean()))


def protocol(tracker: str) -> dict[str, Any]:
    """What the values depend on besides the two sounds."""
    files = [__file__.replace("compare.py", name) for name in ("cepstra.py", "pitch.py")]
    return {"tracker": tracker, "librosa": tool("librosa"), "code": code_sha256(__file__, *files)}
