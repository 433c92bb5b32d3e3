"""The standard error of an estimate from few clusters, or from few clusters and few seeds.

Legend: S seeds, C clusters. `parts`: what each cluster adds to the estimate less what is expected of it; they
add up to 0. `share`: each cluster's part of the weight, adding up to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special


@dataclass(frozen=True)
class Spread:
    """A standard error with its degrees of freedom; infinite where nothing can be known."""

    error: float
    degrees: float

    def margin(self, confidence: float) -> float:
        """Half the width of an interval."""
        if self.error == 0 or math.isinf(self.error):
            return self.error
        return float(special.stdtrit(self.degrees, 0.5 + confidence / 2)) * self.error

    def p_value(self, value: float) -> float:
        """Two-sided, of `value` being 0."""
        if self.error == 0 or math.isinf(self.error):
            return 1.0 if value == 0 or self.error else 0.0
        return float(2 * special.stdtr(self.degrees, -abs(value) / self.error))

    def detectable(self, confidence: float, power: float) -> float:
        """What would leave out 0 with `power` (Bloom 1995); NaN without any spread."""
        if self.error == 0:
            return float("nan")
        if math.isinf(self.error):
            return self.error
        quantiles = special.stdtrit(self.degrees, [0.5 + confidence / 2, power])
        return float(quantiles.sum()) * self.error


UNKNOWN = Spread(float("inf"), 0.0)


def clustered(parts: NDArray, share: NDArray) -> Spread:
    """Of (C,) clusters: CR2 with Bell and McCaffrey's degrees of freedom; infinite for one cluster."""
    if len(parts) < 2 or share.max() >= 1:
        return UNKNOWN
    # The closed form of trace(A)^2 / trace(A^2) for one mean of independent clusters.
    lever = share**2 / (1 - share)
    degrees = 1 / (np.sum(share**2) + np.sum(lever) ** 2 - np.sum(lever**2))
    return Spread(float(np.sqrt(np.sum(parts**2 / (1 - share)))), float(degrees))


def seeded(parts: NDArray, share: NDArray) -> Spread:
    """Of (S, C) seeds crossed with clusters, both samples; S of at least two.

    The variances over clusters and over seeds each hold that of single cells, which is taken off once; it is
    not below either of them. Degrees of freedom by Satterthwaite.
    """
    n_seeds = len(parts)
    over_clusters = clustered(parts.mean(axis=0), share)
    if math.isinf(over_clusters.error):
        return over_clusters
    by_seed = parts.sum(axis=1)  # (S,)
    rest = parts - parts.mean(axis=0) - np.outer(by_seed, share)
    of_clusters = over_clusters.error**2
    of_seeds = float(by_seed.var(ddof=1)) / n_seeds
    of_cells = float(np.sum(rest**2 / (1 - share))) / (n_seeds * (n_seeds - 1))
    if min(of_clusters, of_seeds) > of_cells:
        parts_of_it = [
            (of_clusters, over_clusters.degrees),
            (of_seeds, n_seeds - 1),
            (-of_cells, (n_seeds - 1) * over_clusters.degrees),
        ]
    else:
        parts_of_it = [max((of_clusters, over_clusters.degrees), (of_seeds, n_seeds - 1))]
    variance = sum(one for one, _ in parts_of_it)
    if variance <= 0:
        return Spread(0.0, over_clusters.degrees)
    degrees = variance**2 / sum(one**2 / own for one, own in parts_of_it)
    return Spread(math.sqrt(variance), float(degrees))
