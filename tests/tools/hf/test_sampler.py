"""The sampler that is shipped with an export: token for token ours, and a loop stop without false alarms."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mamtra.lm.sampling import Sampling, sample
from tools.hf.sampler import draw, looping

ASSETS = Path(__file__).parents[3] / "assets/mini"


@pytest.mark.parametrize("peak", [0.3, 3.0, 30.0])
def test_draw_is_our_sampling(peak):
    rng = np.random.default_rng(0)
    repeated = 0
    for case in range(200):
        logits = peak * rng.standard_normal(40)
        logits[rng.random(40) < 0.2] = -np.inf
        likely = int(logits.argmax())
        tokens = [likely if rng.random() < 0.3 else int(rng.integers(40)) for _ in range(case % 14)]
        uniforms = rng.random(2)
        expected = sample(
            torch.from_numpy(logits)[None],
            torch.tensor([tokens[-10:]], dtype=torch.int64).reshape(1, -1),
            torch.from_numpy(uniforms)[None],
            Sampling(),
        )
        assert draw(logits, tokens, uniforms) == int(expected)
        repeated += draw(logits, [], uniforms) != int(expected)
    assert repeated > 10  # the second draw was needed


def test_a_certain_token_may_repeat():
    logits = np.full(5, -np.inf)
    logits[3] = 0.0
    assert draw(logits, [3, 3], (0.5, 0.5)) == 3


@pytest.mark.parametrize("period", [1, 2, 7, 12])
def test_loops_are_seen(period):
    rng = np.random.default_rng(0)
    before = rng.integers(1000, size=80).tolist()
    loop = rng.integers(1000, size=period).tolist() * 70
    assert not looping(before)
    assert not looping(before + loop[: 49 + period])
    assert looping(before + loop[: 50 + period])


@pytest.mark.weights
def test_real_speech_is_no_loop():
    pandas = pytest.importorskip("pandas")
    rows = pandas.read_parquet(ASSETS / "tokens.parquet", columns=["tokens"])["tokens"]
    spans = (tokens[:end].tolist() for tokens in rows[:500] for end in range(62, len(tokens) + 1))
    assert not any(looping(tokens) for tokens in spans)
