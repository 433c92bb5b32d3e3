"""Curves of memory against what others published and against counting with every batch."""

import math

import pandas as pd
import pytest

from studies.memory import LINES, Line, Speech, bytes_over_length, smallest_batch


def test_wands_published_bytes():
    """arXiv 2604.08558, CosyVoice 2 at 10 s in fp32: 10.48 MB, with windows 5.25."""
    lines = {name: LINES[name] for name in ("teacher", "WAND, window 32")}
    found = bytes_over_length([10], "fp32", lines).loc[10]
    rotary = 426 * 64 * 4 / 1e6  # ours, one table for all streams
    assert found["teacher"] - rotary == pytest.approx(10.48, abs=0.02)
    # 176 conditioning positions and 32 generated ones in 24 layers of 1,024 bytes
    assert found["WAND, window 32"] - rotary == pytest.approx(5.25, rel=0.05)


def test_the_papers_figure_5():
    published = pd.read_csv("results/paper/figure5.csv")
    for row in published[published["tokens"] == 2048].itertuples():
        layers = 24 // (1 + int(row.ratio.removeprefix("1to")))
        found = Line(str(row.ratio)).count("fp32").state_bytes(1, 2048, 0)
        kv = 2048 * 1024 * layers + 2048 * 8 * (24 - layers)
        assert kv / 1e6 == pytest.approx(row.kv_mb, abs=0.006)
        # Ours: without 8 bytes a token and Mamba layer and a fourth input of the convolution.
        own = 2048 * 1024 * layers + 243_200 * (24 - layers) + 2048 * 64 * 4 + 8
        assert found == own and 243_200 * (24 - layers) / 1e6 < row.state_mb


def test_the_smallest_batch_is_the_smallest():
    lines = {"1:1": Line("1to1", state_dtype="bf16"), "1:11": Line("1to11", state_dtype="bf16")}
    found = smallest_batch(0.34, [512, 2048], "bf16", lines)
    assert math.isnan(found.loc[512, "1:1"])
    teacher = LINES["teacher"].count("bf16")
    for name, length in (("1:1", 2048), ("1:11", 512), ("1:11", 2048)):
        model, batch = lines[name].count("bf16"), int(found.loc[length, name])

        def share(n, model=model, length=length):
            totals = [one.weight_bytes + one.state_bytes(n, length, 0) for one in (model, teacher)]
            return 1 - totals[0] / totals[1]

        assert share(batch) >= 0.34 > share(batch - 1)


def test_a_longer_text_grows_what_a_window_keeps():
    short, long = (Speech().positions(seconds) for seconds in (10, 60))
    assert short == (426, 176) and long == (143 + 198 + 1500, 341)
