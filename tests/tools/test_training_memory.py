"""The line through measured memory, and what it rests on."""

from pathlib import Path

import pytest

from tools.training_memory import RECOMPUTED, fit, fixed_bytes, memory_options

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_fit_finds_what_made_the_points():
    made = [(m, n, round(5e8 + n * (m * 1.5e5 + 4e4))) for m in (2, 4) for n in (512, 1024, 4096)]
    assert fit(made) == pytest.approx((5e8, 1.5e5, 4e4), rel=1e-3)


def test_weights_gradients_and_moments_are_counted_once():
    parts = fixed_bytes()
    assert parts["teacher"] == 4 * 505_803_812
    assert parts["student"] == parts["gradients"] == parts["Adam"] // 2
    assert parts["student"] - parts["teacher"] == pytest.approx(4 * 12 * 0.82e6, rel=0.01)


def test_the_recipe_is_the_last_way():
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONFIGS), version_base=None):
        memory = dict(compose("train", ["experiment=cosyvoice2_explore"]).memory)
    assert memory == memory_options(RECOMPUTED, 4096)
