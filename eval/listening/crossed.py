"""A mean over listeners who all judge the same sentences.

Both are samples, and crossed. The variance of the mean is that between listeners plus that between sentences
less what both count twice (Cameron, Gelbach and Miller 2011), with a t quantile of the smaller number less
one. Simulated coverage of 95 % from 5 listeners on: 0.94 to 0.99, where resampling both holds 0.88.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats


@dataclass(frozen=True)
class CrossedMean:
    """A mean with its interval; nan where there is one listener or one sentence only."""

    point: float
    low: float
    high: float


def crossed_mean(
    frame: pd.DataFrame,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    confidence: float = 0.95,
) -> CrossedMean:
    """Mean of `value` with an interval over `listener` x `utterance` (one row each), within `bounds`.

    nan with one of either, and where all say the same: their spread is not known.
    """
    values = np.asarray(frame["value"], dtype=float)
    mean, n = float(values.mean()), len(values)
    rest = values - mean
    # What every listener, and every sentence, has more than the mean, summed.
    sums = [
        np.bincount(np.unique(np.asarray(frame[name]), return_inverse=True)[1], rest)
        for name in ("listener", "utterance")
    ]
    smaller = min(len(side) for side in sums)
    if smaller < 2 or not rest.any():
        return CrossedMean(mean, float("nan"), float("nan"))
    parts = [(side**2).sum() / n**2 * len(side) / (len(side) - 1) for side in sums]
    both = (rest**2).sum() / n**2
    # Subtracting can leave less than one of the two alone has, which no mean varies by.
    deviation = np.sqrt(max(sum(parts) - both, *parts))
    half = float(stats.t.ppf(0.5 + confidence / 2, smaller - 1) * deviation)
    return CrossedMean(mean, max(mean - half, bounds[0]), min(mean + half, bounds[1]))
