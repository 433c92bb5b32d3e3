"""Importance scores of layers for reading: a table and a plot. Capped word errors.

Legend: U utterances, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from rich.table import Table

from mamtra.transfer.scores import ImportanceScores


def capped_errors(rows: Sequence[Mapping[str, Any]], wer_cap: float) -> np.ndarray:
    """Word errors (U,) of score rows, at most `wer_cap` of the utterance's reference words each.

    An utterance that loops can have many times its words as insertions; what a layer is worth must
    not hang on it. Raises ValueError for a cap that is not above 0.
    """
    if wer_cap <= 0:
        raise ValueError(f"wer_cap must be above 0, not {wer_cap}")
    counts = [row["substitutions"] + row["deletions"] + row["insertions"] for row in rows]
    words = np.array([row["reference_words"] for row in rows], dtype=np.float64)
    return np.minimum(np.array(counts, dtype=np.float64), wer_cap * words)


def score_table(scores: ImportanceScores) -> Table:
    """The layers, most important first."""
    table = Table(title=f"{scores.mode}: {scores.unit}, {scores.n} sequences", title_justify="left")
    for column in ("rank", "layer", "score", "95 % interval"):
        table.add_column(column, justify="right")
    order = sorted(range(len(scores.layers)), key=lambda i: (-scores.layers[i].score, i))
    for rank, number in enumerate(order, start=1):
        layer = scores.layers[number]
        interval = f"[{layer.low:.4f}, {layer.high:.4f}]"
        table.add_row(str(rank), str(number), f"{layer.score:.4f}", interval)
    return table


def plot_scores(scores: ImportanceScores, path: Path) -> None:
    """One bar per layer (L,) with its interval, as SVG."""
    values = np.array(scores.values)
    low = values - np.array([layer.low for layer in scores.layers])
    high = np.array([layer.high for layer in scores.layers]) - values
    with plt.rc_context({"svg.hashsalt": "mamtra", "font.size": 9}):
        figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
        # A bootstrap interval need not contain its point; a bar cannot have a negative length.
        spread = np.clip(np.stack([low, high]), 0, None)
        axes.bar(range(len(values)), values, yerr=spread, color="#4a7ab5", ecolor="#333", capsize=2)
        axes.set_xticks(range(len(values)))
        axes.set_xlabel("layer")
        axes.set_ylabel(scores.unit)
        axes.set_title(f"placement={scores.mode}: the highest stay attention", loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
