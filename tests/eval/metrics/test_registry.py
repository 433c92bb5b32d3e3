"""A new metric is a file and a line: what follows from the line."""

import io

import numpy as np
import pandas as pd
import pytest

from eval.analysis.summary import leaderboard_line
from eval.metrics import registry
from eval.metrics.clip import Clip, Scorer
from eval.metrics.registry import METRICS, Column, Metric
from eval.report.columns import to_csv, to_markdown
from tests.eval.scored_world import CountingASR, items, run, stand_ins


class ZeroCrossings(Scorer):
    """What the file of a new metric holds."""

    def __init__(self, setup) -> None: ...

    @property
    def recipe(self):
        return {"tool": "zero-crossings", "version": 1}

    def score(self, clip: Clip):
        share = lambda: float(np.mean(np.diff(np.signbit(clip.wave)) != 0))  # noqa: E731
        return {"crossings": clip.remember("crossings-1", share)}


LINE = Metric(
    "crossings",
    ZeroCrossings,
    (Column("crossings", "ZC %", "{:.1f}", None, "zero crossings per sample", scale=100),),
)


def test_a_new_metric_is_in_rows_recipes_and_summaries(world, monkeypatch):
    monkeypatch.setattr(registry, "METRICS", [*METRICS, LINE])
    (world / "out/wavs/c.wav").unlink()
    rows, scorers = run(world, items(world))
    # A tone of f Hz crosses zero 2 f times in 16,000 samples.
    assert rows[0]["crossings"] == pytest.approx(400 / 16_000, rel=0.02)
    assert rows[2]["crossings"] is None
    assert scorers.recipes()["crossings"] == {"tool": "zero-crossings", "version": 1}
    line = leaderboard_line("s", {"kind": "wavs"}, rows)
    found = line.estimates["crossings"]
    assert found.n == 2 and found.point == pytest.approx((400 + 1800) / 2 / 16_000, rel=0.02)
    table = pd.read_csv(io.StringIO(to_csv([line])))
    assert table["crossings"][0] == pytest.approx(found.point, rel=1e-4)
    assert "ZC %" in to_markdown([line]) and f"{100 * found.point:.1f}" in to_markdown([line])
    # Rows of before the metric have no value of it, and every other one.
    older = [{k: v for k, v in row.items() if k != "crossings"} for row in rows]
    assert "crossings" not in leaderboard_line("s", {"kind": "wavs"}, older).estimates
    assert run(world, items(world))[1].cache.calls == 0


def test_every_column_is_in_every_row_and_declared_once(world):
    rows, scorers = run(world, items(world))
    names = [name for m in METRICS for name in (*(c.name for c in m.columns), *m.fields)]
    assert len(names) == len(set(names)) and set(names) <= set(rows[0])
    assert set(scorers.recipes()) <= {metric.name for metric in METRICS}
    columns = [column for metric in METRICS for column in metric.columns]
    assert all(c.explanation and c.better in ("higher", "lower", None) for c in columns)


def test_guarded_errors_never_exceed_the_raw_ones(world):
    """A loop of the text's own words: fewer errors than the text has words."""
    text = "thank you so much " * 20 + "and good night to you all my dear old friends"
    rows, _ = run(world, items(world, "a", text), CountingASR("thank you so much " * 20))
    assert rows[0]["flags"] == ["loop"]
    errors = rows[0]["substitutions"] + rows[0]["deletions"] + rows[0]["insertions"]
    assert rows[0]["guarded_errors"] == errors < rows[0]["reference_words"]
    for one in stand_ins(world).metrics.values():
        assert one.recipe
