"""What every mixer has to be: its equations, any split of a sequence, any padding, finite gradients.

A new mixer is in all of these tests as soon as it is in the registry; PLAIN wants its equations.
"""

import pytest
import torch

from mamtra.backbone.context import sequence_context
from mamtra.backbone.decoder import Decoder
from mamtra.backbone.layer_plan import LETTERS
from mamtra.backbone.mixers import MIXERS
from mamtra.backbone.sizes import BackboneSizes
from tests.mamtra.backbone.plain_mixers import PLAIN
from tests.near import roundings

SIZES = BackboneSizes(d_model=24, n_layers=2, n_heads=6, n_kv_heads=2, head_dim=4, d_ff=32, chunk=8)
LIMIT = 32  # fp32 roundings: 5 measured
every_mixer = pytest.mark.parametrize("kind", MIXERS)


def shaken(module):
    """Every parameter away from the value it starts with, zeros and ones too."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return module


def mixer_of(kind):
    torch.manual_seed(1)
    return shaken(MIXERS[kind](SIZES).double())


def decoder_of(kind):
    torch.manual_seed(1)
    return shaken(Decoder(SIZES, (kind,) * SIZES.n_layers)).double().eval()


def assert_same(found, expected):
    """Computed in fp64 and compared in fp32, which recurrent states stay in."""
    assert roundings(found.float(), expected.float()) <= LIMIT


def test_every_mixer_has_a_letter_and_its_equations():
    assert LETTERS.keys() == MIXERS.keys() == PLAIN.keys()
    assert len(set(LETTERS.values())) == len(LETTERS)
    assert all(len(letter) == 1 and letter.isupper() for letter in LETTERS.values())


@every_mixer
@pytest.mark.parametrize("length", [1, 3, 8, 21])
def test_values_and_gradients_are_those_of_the_equations(kind, length):
    m = mixer_of(kind)
    x = torch.randn(2, length, SIZES.d_model, dtype=torch.float64, requires_grad=True)
    found = m(x, sequence_context(length, None, SIZES, x.device))
    expected = torch.stack([PLAIN[kind](m, row) for row in x])
    assert_same(found, expected)
    wanted = [x, *m.parameters()]
    weight = torch.randn_like(expected)
    pairs = [torch.autograd.grad((y * weight).sum(), wanted) for y in (found, expected)]
    for one, other in zip(*pairs, strict=True):
        assert_same(one, other)


@every_mixer
@pytest.mark.parametrize("split", [(1, *[1] * 19), (20,), (7, 2, 1, 3, 1, 6)])
def test_a_prefill_and_steps_of_any_size_are_the_whole_sequence(kind, split):
    model = decoder_of(kind)
    x = torch.randn(2, 20, SIZES.d_model, dtype=torch.float64)
    first, state = model.prefill(x[:, : split[0]], None, max_length=20)
    parts, start = [first], split[0]
    for size in split[1:]:
        parts.append(model.step(x[:, start : start + size], state))
        start += size
    assert_same(torch.cat(parts, 1), model(x)[0])


@every_mixer
@pytest.mark.parametrize("left", [False, True])
def test_rows_of_a_padded_batch_are_what_they_are_alone(kind, left):
    model, lengths, total = decoder_of(kind), (11, 4, 1), 13
    rows = [torch.randn(n + 6, SIZES.d_model, dtype=torch.float64) for n in lengths]
    x = torch.full((len(rows), total, SIZES.d_model), float("nan"), dtype=torch.float64)
    mask = torch.zeros(len(rows), total, dtype=torch.bool)
    for i, n in enumerate(lengths):
        place = slice(total - n, total) if left else slice(0, n)
        x[i, place], mask[i, place] = rows[i][:n], True
    x.requires_grad_()
    outputs = model(x, mask)[0]
    (grad,) = torch.autograd.grad(outputs[mask].square().sum(), x)
    prefilled, state = model.prefill(x.detach(), mask, max_length=total + 6)
    later = torch.stack([row[n:] for row, n in zip(rows, lengths, strict=True)])
    steps = torch.cat([model.step(later[:, :1], state), model.step(later[:, 1:], state)], dim=1)
    assert not bool(grad[~mask].any())
    for i, (row, n) in enumerate(zip(rows, lengths, strict=True)):
        alone = row.clone().requires_grad_()
        expected = model(alone[None])[0][0]
        (own,) = torch.autograd.grad(expected[:n].square().sum(), alone)
        for found in (outputs[i, mask[i]], prefilled[i, mask[i]]):
            assert_same(found, expected[:n])
        assert_same(steps[i], expected[n:])
        assert_same(grad[i, mask[i]], own[:n])
