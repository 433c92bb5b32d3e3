"""Figures of a grid: heat maps over ratio and placement, and CE against WER.

Drawn once here, so that notebooks and README show the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mamtra.backbone.layer_plan import PLACEMENTS, RATIOS
from studies.grid_table import CONTINUED, of_plans

COLOURS = (*matplotlib.colormaps["tab10"].colors, *matplotlib.colormaps["Dark2"].colors)  # type: ignore
MARKERS = dict(zip((ratio.replace(":", "to") for ratio in RATIOS), "Xovs^DP", strict=True))


def placements_in(cells: pd.DataFrame) -> list[str]:
    """The placements of a table in the order of the code."""
    return [name for name in PLACEMENTS if name in set(cells["placement"])]


def ratios_in(cells: pd.DataFrame) -> list[str]:
    """The ratios of a table in the order of the code."""
    return [ratio for ratio in MARKERS if ratio in set(cells["ratio"])]


def pivot(cells: pd.DataFrame, value: str) -> pd.DataFrame:
    """Mean of `value` over seeds: placements down, ratios across; NaN where there is no number."""
    found = cells.pivot_table(index="placement", columns="ratio", values=value, aggfunc="mean")
    return found.reindex(index=placements_in(cells), columns=ratios_in(cells))


def heat_map(axes: Axes, values: pd.DataFrame, title: str, form: str = "{:.1f}") -> None:
    """A table as colours with its numbers; darker is higher (worse)."""
    grid = values.to_numpy(dtype=float)
    axes.imshow(grid, cmap="YlOrRd", aspect="auto")
    axes.set_xticks(range(values.shape[1]), [str(c).replace("to", ":") for c in values.columns])
    axes.set_yticks(range(values.shape[0]), [str(name) for name in values.index])
    middle = np.nanmin(grid) + 0.6 * np.ptp(grid[np.isfinite(grid)]) if grid.size else 0.0
    for (row, column), value in np.ndenumerate(grid):
        text = "–" if np.isnan(value) else form.format(value)
        colour = "white" if value > middle else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel("attention : Mamba")


def ce_wer_scatter(
    axes: Axes, cells: pd.DataFrame, ce: str, wer: str, title: str, teacher: Sequence[float] = ()
) -> None:
    """One point per cell: colour is the placement, marker the ratio; a cross marks the teacher."""
    names, ratios = placements_in(cells), ratios_in(cells)
    for name in names:
        # A placement has one colour in every figure, whatever else is drawn.
        colour = COLOURS[PLACEMENTS.index(name) % len(COLOURS)]
        for ratio in ratios:
            some = cells[(cells["placement"] == name) & (cells["ratio"] == ratio)]
            axes.scatter(some[ce], 100 * some[wer], color=colour, marker=MARKERS[ratio], s=28)
        axes.scatter([], [], color=colour, label=name)
    for ratio in ratios:
        label = ratio.replace("to", ":")
        axes.scatter([], [], color="grey", marker=MARKERS[ratio], label=label)
    if len(teacher) == 2:
        axes.scatter(
            [teacher[0]], [100 * teacher[1]], color="black", marker="x", s=50, label="teacher"
        )
    axes.set_xlabel("cross-entropy, nats per token")
    axes.set_ylabel("WER %")
    axes.set_title(title, loc="left", fontsize=9)
    axes.legend(fontsize=6, ncols=2)
    axes.spines[["top", "right"]].set_visible(False)


def write_figures(
    cells: pd.DataFrame,
    paper: pd.DataFrame,
    folder: Path,
    name: str = "",
    title: str = "mini",
    means: bool = False,
) -> list[Path]:
    """The two headline figures as SVG, the same bytes for the same numbers.

    Args:
        cells: finished cells of a grid; those of Mamba layers and seed 0 are drawn, ratio 1:0 as the teacher.
        paper: ratio, placement, ce and wer (a fraction) of the paper's figure 4.
        name: what the files' names end in. title: whose cells they are.
        means: whether the maps show means over the seeds of a cell.
    """
    every = of_plans(cells).query("ratio != '1to0'")
    students = every.query("seed == 0")
    own = cells[cells["placement"] != CONTINUED]
    teachers = own.query("seed == 0 and ratio == '1to0'").to_dict("records")
    known = [teachers[0]["ce"], teachers[0]["wer_corpus"]] if teachers else []
    with plt.rc_context({"svg.hashsalt": "mamtra", "font.size": 9}):
        maps, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        mapped = every if means else students
        heat_map(left, 100 * pivot(mapped, "wer_corpus"), "corpus WER %")
        heat_map(right, pivot(mapped, "ce"), "cross-entropy, nats per token", "{:.2f}")
        points, (ours, theirs) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        plans = students.drop_duplicates("work")
        ce_wer_scatter(ours, plans, "ce", "wer_corpus", f"{title}, one point per layer plan", known)
        ce_wer_scatter(theirs, paper, "ce", "wer", "paper, figure 4 (CosyVoice 2)")
    figures = {"placement_grid": maps, "ce_vs_wer": points}
    return [_save(figure, folder / f"{file}{name}.svg") for file, figure in figures.items()]


def write_speed(rows: pd.DataFrame, base: str, title: str, path: Path) -> Path:
    """Rates over context as multiples of `base` at the same context, as SVG: points with their range, and
    dashed what the bytes of a step alone would give.

    rows: those of one run of stage=efficiency at batch 1: system, context, tokens_per_s with _low and _high,
    and limit_tokens_per_s.
    """
    with plt.rc_context({"svg.hashsalt": "mamtra", "font.size": 9}):
        figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
        own = rows[rows["system"] == base].set_index("context")
        for number, (name, found) in enumerate(rows.groupby("system", sort=False)):
            found = found.set_index("context").sort_index()
            rate, limit = own["tokens_per_s"], own["limit_tokens_per_s"]
            times, colour = found["tokens_per_s"] / rate, COLOURS[number]
            low, high = found["tokens_per_s_low"] / rate, found["tokens_per_s_high"] / rate
            spread = [(times - low).to_numpy(), (high - times).to_numpy()]
            axes.errorbar(
                times.index, times, spread, color=colour, marker="o", ms=4, label=str(name)
            )
            moved = (found["limit_tokens_per_s"].astype(float) / limit).dropna()
            axes.plot(moved.index, moved, color=colour, linestyle="--", linewidth=0.8)
        axes.plot([], [], color="grey", linestyle="--", linewidth=0.8, label="bytes alone")
        contexts = sorted(int(context) for context in set(rows["context"]))
        axes.set_xscale("log")
        axes.set_xticks(contexts, [f"{context:,}" for context in contexts])
        axes.minorticks_off()
        axes.set_xlabel("positions before the token")
        axes.set_ylabel(f"rate / that of {base}")
        axes.set_title(title, loc="left", fontsize=9)
        axes.legend(fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with plt.rc_context({"svg.hashsalt": "mamtra"}):
        figure.savefig(path, metadata={"Date": None}, facecolor="white")
    plt.close(figure)
    return path
