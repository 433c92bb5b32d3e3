"""Prosody of systems less a baseline's: paired by utterance, over the seeds of both, Holm over the systems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eval.analysis.statistics import Difference, holm, paired_difference
from eval.prosody.table import DISTANCES, OTHERS
from eval.store.evaluations import Evaluated

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Pairing:
    """What `system` has more than the baseline of one measure."""

    system: str
    measure: str
    difference: Difference


def pairings(systems: Sequence[Evaluated], rows: Sequence[Rows], baseline: str) -> list[Pairing]:
    """Of every measure and system beside the baseline; `rows`: of each evaluation, as `measure` returns them.

    An utterance counts where every seed of both sides has a value, a seed where both sides have it; a baseline
    of one seed stands against each. A pair without a common utterance is left out.
    """
    known: defaultdict[str, dict[int, Rows]] = defaultdict(dict)
    for one, own in zip(systems, rows, strict=True):
        known[one.name][one.seed] = own
    base = known.pop(baseline)
    found = []
    for measure in (*DISTANCES, *OTHERS):
        these = [
            Pairing(name, measure, gap)
            for name, own in known.items()
            if (gap := _difference(own, base, measure)) is not None
        ]
        adjusted = holm([one.difference.p for one in these])
        found += [
            replace(one, difference=replace(one.difference, p_holm=float(p)))
            for one, p in zip(these, adjusted, strict=True)
        ]
    return found


def _difference(
    own: Mapping[int, Rows], base: Mapping[int, Rows], measure: str
) -> Difference | None:
    alone = next(iter(base.values())) if len(base) == 1 else None
    seeds = [seed for seed in sorted(own) if alone is not None or seed in base]
    sides = [(own[seed], alone if alone is not None else base[seed]) for seed in seeds]
    values = [[_values(rows, measure) for rows in side] for side in sides]
    shared = set.intersection(*(set(v) for side in values for v in side)) if values else set()
    if not shared:
        return None
    order = sorted(shared)
    mine, theirs = (
        np.array([[side[i][name] for name in order] for side in values]) for i in (0, 1)
    )
    voices = {row["utterance"]: str(row["voice"]) for row in sides[0][0]}
    return paired_difference(mine, theirs, None, [voices[name] for name in order])


def _values(rows: Rows, measure: str) -> dict[str, float]:
    """Of the utterances that have one."""
    return {row["utterance"]: row[measure] for row in rows if row.get(measure) is not None}
