"""Means over utterances with intervals over voices, and where each lies between a floor and a ceiling."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import kendalltau

from eval.analysis.statistics import Interval, mean_interval

# Lower is better for these; the position between floor and ceiling is told for them alone.
DISTANCES = (
    *("mcd_db", "f0_rmse_cents", "contour_rmse_cents", "voicing_error", "gross_error"),
    "energy_rmse_db",
)
OTHERS = ("f0_correlation", "f0_std_ratio", "length_ratio", "path_penalty")
RANKED = "f0_rmse_cents"


@dataclass(frozen=True)
class Line:
    """One system: column -> its mean, column -> its place (0 at the floor, 1 at the ceiling), statuses."""

    system: str
    means: Mapping[str, Interval]
    places: Mapping[str, float]
    statuses: Mapping[str, int]


def line_of(
    system: str,
    rows: Sequence[Mapping[str, Any]],
    floor: Mapping[str, Interval] | None = None,
    ceiling: Mapping[str, Interval] | None = None,
) -> Line:
    """Of the utterances that have a value, each by itself."""
    means = {}
    for column in (*DISTANCES, *OTHERS):
        having = [row for row in rows if row.get(column) is not None]
        if having:
            values = [row[column] for row in having]
            means[column] = mean_interval(values, [row["voice"] for row in having])
    places = {}
    for column in DISTANCES:
        if floor and ceiling and all(column in x for x in (means, floor, ceiling)):
            low, high = floor[column].point, ceiling[column].point
            if high > low:
                places[column] = (means[column].point - low) / (high - low)
    return Line(system, means, places, dict(Counter(row["status"] for row in rows)))


def agreement(lines: Mapping[str, Sequence[Line]]) -> float | None:
    """Kendall's tau between the rankings of the same systems by two trackers' pitch errors; None with fewer
    than two systems, or one tracker."""
    if len(lines) < 2:
        return None
    first, second = (
        {line.system: line.means[RANKED].point for line in found if RANKED in line.means}
        for found in list(lines.values())[:2]
    )
    shared = sorted(first.keys() & second.keys())
    if len(shared) < 2:
        return None
    found: Any = kendalltau([first[name] for name in shared], [second[name] for name in shared])
    return float(found.statistic)


def verdict(tau: float) -> str:
    """What Kendall's tau says about two rankings."""
    if math.isnan(tau):
        return "not at all: one of them finds no difference"
    # SciPy's tau of equal rankings is 0.9999999999999999 for some numbers of systems.
    if tau > 1 - 1e-9:
        return "alike"
    return "not alike: no claim about pitch rests on one of them"
