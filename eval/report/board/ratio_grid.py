"""The picture of a ratio x placement grid, from the names of systems.

A name holds a cell where it has <ratio>-<placement> in it (1to3-blockbeg, 1to3-kl-calibrated-student).
What stands around that tells variants apart, and each variant has a picture of its own: a cell is one kind of
student, averaged over its seeds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eval.report.board.groups import Group
from mamtra.backbone.layer_plan import PLACEMENTS, RATIOS

_RATIOS = "|".join(ratio.replace(":", "to") for ratio in RATIOS)
SMALLEST = 0.1  # percent that a shade tells from 0
CELL = re.compile(rf"(?:^|(?<=[-_ ]))({_RATIOS})-({'|'.join(PLACEMENTS)})(?=$|[-_ ])")


@dataclass(frozen=True)
class GridPicture:
    """Headline by placement (rows) and ratio (columns, most attention first), in percent.

    variant: what the names have besides. shades: 0 for the lowest value to 1 for the highest, by their
    logarithms, so that one that does not speak leaves the others told apart. Both tables are
    NaN where there is no such system.
    """

    variant: str
    values: pd.DataFrame
    shades: pd.DataFrame


def grid_pictures(group: Group) -> list[GridPicture]:
    """One per variant that has at least two cells."""
    rows = []
    for entry in group.entries:
        match, found = CELL.search(entry.one.name), entry.line.estimates.get(group.headline)
        if match and found:
            name = entry.one.name
            variant = f"{name[: match.start()]}…{name[match.end() :]}".strip("…")
            rows.append((variant, match[2], match[1], 100 * found.point))
    frame = pd.DataFrame(rows, columns=["variant", "placement", "ratio", "value"])
    pictures = []
    for variant, part in frame.groupby("variant", sort=False):
        if part[["placement", "ratio"]].drop_duplicates().shape[0] < 2:
            continue
        values = part.pivot_table(
            index="placement", columns="ratio", values="value", aggfunc="mean"
        )
        values = values[sorted(values.columns, key=_attention_share)]
        values = values.loc[[name for name in PLACEMENTS if name in values.index]]
        logarithms = np.log(values.clip(lower=SMALLEST))
        lowest, highest = float(logarithms.min().min()), float(logarithms.max().max())
        shades = (logarithms - lowest) / ((highest - lowest) or 1.0)
        pictures.append(GridPicture(str(variant), values, shades))
    return pictures


def _attention_share(ratio: str) -> float:
    attention, mamba = (int(part) for part in ratio.split("to"))
    return -attention / (attention + mamba)
