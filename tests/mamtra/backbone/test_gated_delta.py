"""The gated delta rule: chunks and steps, what it remembers, what padding does. Equations: test_mixers.py."""

import pytest
import torch

from mamtra.backbone.gated_delta import gated_delta, gated_delta_step
from tests.near import assert_near


def draw(length, batch=2, heads=3, width=4, value=5):
    torch.manual_seed(0)
    q, k = (torch.randn(batch, length, heads, width, dtype=torch.float64) for _ in range(2))
    v = torch.randn(batch, length, heads, value, dtype=torch.float64)
    k = torch.nn.functional.normalize(k, dim=-1)
    log_decay = -torch.rand(batch, length, heads, dtype=torch.float64)
    return q, k, v, log_decay, torch.rand(batch, length, heads, dtype=torch.float64)


@pytest.mark.parametrize("length", [1, 7, 8, 19])
def test_chunks_of_any_length_are_the_steps(length):
    parts = draw(length)
    state = torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    steps = [gated_delta_step(*(x[:, t] for x in parts), state) for t in range(length)]
    for chunk in (1, 3, 8, 64):
        y, last = gated_delta(*parts, chunk=chunk)
        assert_near(y, torch.stack(steps, dim=1), 100)
        assert_near(last, state, 100)


def test_a_state_is_gone_on_from():
    parts = draw(19)
    whole, last = gated_delta(*parts, chunk=8)
    first, state = gated_delta(*(x[:, :6] for x in parts), chunk=8)
    second, end = gated_delta(*(x[:, 6:] for x in parts), state, chunk=8)
    assert_near(torch.cat((first, second), dim=1), whole, 100)
    assert_near(end, last, 100)


def test_a_key_stands_for_the_last_value_that_was_written_to_it():
    """beta = 1 and no decay: the memory of DeltaNet, which linear attention would have as a sum."""
    keys = torch.eye(4, dtype=torch.float64)[[0, 1, 2, 1, 3]][None, :, None]
    values = torch.randn(1, 5, 1, 6, dtype=torch.float64)
    nothing, one = torch.zeros(1, 5, 1).double(), torch.ones(1, 5, 1).double()
    _, memory = gated_delta(keys, keys, values, nothing, one, chunk=2)
    expected = values[0, [0, 3, 2, 4], 0]
    torch.testing.assert_close(memory[0, 0], expected)
    faded, half = gated_delta(keys, keys, values, nothing - 0.5, one * 0.5, chunk=2)
    assert torch.isfinite(faded).all() and (half[0, 0].abs() < expected.abs() + 1).all()


def test_padding_changes_nothing_and_strong_decay_is_no_nan():
    q, k, v, log_decay, beta = draw(9)
    y, last = gated_delta(q, k, v, log_decay, beta, chunk=4)
    longer = [torch.cat((x, torch.full_like(x[:, :3], 7.0)), dim=1) for x in (q, k, v)]
    gates = [torch.cat((x, torch.zeros_like(x[:, :3])), dim=1) for x in (log_decay, beta)]
    found, kept = gated_delta(*longer, *gates, chunk=4)
    assert_near(found[:, :9], y, 100)
    assert_near(kept, last, 100)
    parts = [x.float().requires_grad_() for x in (q, k, v, log_decay * 500, beta)]
    gated_delta(*parts, chunk=8)[0].square().sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in parts)
