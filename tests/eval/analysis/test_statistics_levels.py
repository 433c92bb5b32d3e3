"""Intervals and tests hold their levels on simulated lists of few voices (`studies.coverage`).

Percentile bootstraps over voices cover 84 to 91 % with five, 87 % with ten voices here.
"""

import numpy as np
import pandas as pd
import pytest

from eval.analysis.statistics import length_slope, paired_difference, share_interval
from studies.coverage import CASES, World, coverage, holds, levels, main


def test_few_voices_are_covered():
    """Of 500 lists 95 % is 475 with a standard error of 5; a percentile bootstrap holds about 440."""
    found = levels(5, 0.05, 0.08, 500)
    assert {name: rate for name, rate in found.items() if "type" not in name and rate < 0.93} == {}
    assert max(found["type I, WER"], found["type I, SIM"]) < 0.075


@pytest.mark.slow
@pytest.mark.parametrize(("voices", "sd"), CASES)
def test_intervals_cover_and_tests_keep_their_level(voices, sd):
    """The target. A standard error of 2,000 trials is 0.5, of 6,000 0.3 points."""
    for name, rate in coverage(voices, sd, 2000).items():
        low, high = (0.0, 0.06) if name.startswith("type") else (0.93, 0.97)
        assert low <= rate <= high, name


@pytest.mark.slow
def test_shares_are_covered_at_least():
    for voices, sd in CASES:
        world = World(voices, sd / 2, seed=2)
        truth, hits = world.true_rate(0.05), 0
        for _ in range(1000):
            hits += holds(
                share_interval(world.rng.random(world.size) < world.rates(0.05), world.names), truth
            )
        # Clopper and Pearson's is too wide rather than too narrow.
        assert hits / 1000 >= 0.93, (voices, sd)


@pytest.mark.slow
@pytest.mark.parametrize("voices", [5, 10, 30])
def test_slopes_are_covered(voices):
    world, hits = World(voices, 0.02, seed=3), 0
    for _ in range(2000):
        words = world.rng.integers(3, 40, world.size)
        rates = np.clip(0.06 + 0.01 * np.log2(words) + world.effects(), 0.001, 0.95)
        hits += holds(length_slope(world.errors(rates, words), words, world.names), 0.01)
    assert 0.93 <= hits / 2000 <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("voices", [5, 10, 30])
@pytest.mark.parametrize("seed_sd", [0.0, 0.01, 0.03])
def test_three_seeds_are_covered(voices, seed_sd):
    world, hits, false = World(voices, 0.03, seed=4), 0, 0
    for _ in range(1000):
        words, hard = world.words(), world.rates(0.2)
        shift = world.rng.normal(0, seed_sd, (3, 1))
        ours = world.errors(np.clip(hard + world.effects() + shift, 0.001, 0.95), words)
        theirs = world.errors(np.repeat(hard[None], 3, axis=0), words)
        found = paired_difference(ours, theirs, words, world.names)
        hits += holds(found, 0)
        false += found.p < 0.05
    # Seeds and voices by Satterthwaite's degrees of freedom: rather too wide.
    assert hits / 1000 >= 0.925 and false / 1000 <= 0.075


def test_the_command_writes_a_row_per_case(tmp_path, capsys):
    main([f"out={tmp_path}", "trials=3"])
    table = pd.read_csv(tmp_path / "coverage.csv")
    assert list(zip(table["voices"], table["sd"], strict=True)) == CASES
    assert table["WER at 8%"].between(0, 1).all()
    for wrong in ([], ["out=x", "trials=many"], ["out=x", "n=3"]):
        with pytest.raises(SystemExit, match=r"studies\.coverage"):
            main(wrong)
