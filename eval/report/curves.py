"""Loss curves of a training run as one inline SVG."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

TERMS = ("loss", "ce", "alignment", "logits", "embedding")
# Stand-in for the text colour: the page decides it, so that light and dark both work.
FOREGROUND = "#010203"
TRAINING, VALIDATION = "#4c6ef5", "#e8590c"  # readable on white and on near-black
MAX_POINTS = 400


@dataclass(frozen=True)
class Curve:
    """One logged quantity: P steps (P,) and values (P,)."""

    steps: np.ndarray
    values: np.ndarray


def read_curves(path: Path) -> dict[str, Curve]:
    """The loss terms of a metrics CSV, those of TERMS and their `val_` forms.

    Rows that do not log a term are gaps and are dropped.

    Raises:
        ValueError: not a CSV, no `step` column, or no loss term with a value.
    """
    try:
        frame = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a CSV of metrics ({error})") from None
    if "step" not in frame.columns:
        raise ValueError(f"{path}: no column named step")
    steps = frame["step"].to_numpy()
    curves = {}
    for name in (*TERMS, *(f"val_{term}" for term in TERMS)):
        if name not in frame.columns:
            continue
        values = np.asarray(pd.to_numeric(frame[name], errors="coerce"), dtype=np.float64)
        logged = np.isfinite(values)
        if logged.any():
            curves[name] = Curve(steps[logged], values[logged])
    if not curves:
        raise ValueError(f"{path}: no loss term among {', '.join(map(str, frame.columns))}")
    return curves


def find_metrics_csv(model_folder: Path) -> Path | None:
    """The metrics CSV of the run that exported a model: beside its folder or in it."""
    candidates = (model_folder.parent / "metrics.csv", model_folder / "metrics.csv")
    return next((path for path in candidates if path.is_file()), None)


def curves_svg(curves: Mapping[str, Curve]) -> str:
    """One panel per loss term, training and validation together, as an `<svg>` element.

    The element has no namespaces, scripts or links. Long series are averaged to 400 points.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    style: Any = {
        "svg.fonttype": "none",  # text stays text, in the page's font
        "svg.hashsalt": "curves",
        "text.color": FOREGROUND,
        "axes.labelcolor": FOREGROUND,
        "axes.edgecolor": FOREGROUND,
        "xtick.color": FOREGROUND,
        "ytick.color": FOREGROUND,
        "font.size": 9,
    }
    terms = [term for term in TERMS if term in curves or f"val_{term}" in curves]
    n_columns = min(2, len(terms))
    n_rows = -(-len(terms) // n_columns)
    with matplotlib.rc_context(style):
        figure, grid = pyplot.subplots(
            n_rows,
            n_columns,
            figsize=(4.2 * n_columns, 2.4 * n_rows),
            squeeze=False,
            layout="constrained",
        )
        for axes, term in zip(grid.flat, terms, strict=False):
            pairs = ((term, TRAINING, "training"), (f"val_{term}", VALIDATION, "validation"))
            for name, colour, label in pairs:
                if name in curves:
                    curve = _thin(curves[name])
                    marker = "o" if len(curve.steps) < 20 else None
                    axes.plot(
                        curve.steps,
                        curve.values,
                        color=colour,
                        linewidth=1.6,
                        marker=marker,
                        markersize=3,
                        label=label,
                    )
            axes.set_title(term, loc="left", fontsize=10, fontweight="bold")
            axes.set_xlabel("step")
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(True, linewidth=0.5, alpha=0.25, color=FOREGROUND)
            axes.legend(frameon=False)
        for axes in list(grid.flat)[len(terms) :]:
            axes.set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        pyplot.close(figure)
    return _inline(buffer.getvalue())


def _thin(curve: Curve) -> Curve:
    if len(curve.steps) <= MAX_POINTS:
        return curve
    steps = np.array_split(curve.steps, MAX_POINTS)
    values = np.array_split(curve.values, MAX_POINTS)
    return Curve(np.array([s.mean() for s in steps]), np.array([v.mean() for v in values]))


def _inline(document: str) -> str:
    """Keep the `<svg>` element; prologue, metadata and namespaces hold URLs HTML does not need."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(?::\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r'\1 role="img"', svg, count=1)
    # Ids of two figures on one page must differ, or the second clips with the first's shapes.
    prefix = "c" + hashlib.sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{prefix}", svg)
    return svg.replace(FOREGROUND, "currentColor").replace("<svg ", '<svg class="curves" ', 1)
