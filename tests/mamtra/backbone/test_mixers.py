"""What every mixer has to be: its equations, any split of a sequence, any padding, finite gradients.

A new mixer is in all of these tests as soon as it is in the registry; PLAIN wants its equations. `local` marks
generated speech: behind some conditioning, with more of that in between, as text that comes in pieces.
"""

import pytest
import torch

from mamtra.backbone.context import sequence_context
from mamtra.backbone.decoder import Decoder
from mamtra.backbone.layer_plan import LETTERS
from mamtra.backbone.mixers import MIXERS
from mamtra.backbone.sizes import BackboneSizes
from mamtra.transfer.conversions import CONVERSIONS, SAME_TENSORS
from tests.mamtra.backbone.plain_mixers import PLAIN
from tests.near import roundings

SIZES = BackboneSizes(
    d_model=24, n_layers=2, n_heads=6, n_kv_heads=2, head_dim=4, d_ff=32, chunk=8, window=3
)
LIMIT = 32  # fp32 roundings
every_mixer = pytest.mark.parametrize("kind", MIXERS)


def shaken(module):
    """Every parameter away from the value it starts with, zeros and ones too."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return module


def decoder_of(kind):
    torch.manual_seed(1)
    return shaken(Decoder(SIZES, (kind,) * SIZES.n_layers)).double().eval()


def generated(length, prompt):
    """(length,) bool: speech after `prompt` positions, but for every seventh of them."""
    position = torch.arange(length)
    return (position >= prompt) & (position % 7 != 6)


def assert_same(found, expected):
    """Computed in fp64 and compared in fp32, which recurrent states stay in."""
    assert roundings(found.float(), expected.float()) <= LIMIT


def test_every_mixer_has_a_letter_its_equations_and_a_way_from_attention():
    assert LETTERS.keys() == MIXERS.keys() == PLAIN.keys()
    assert {*CONVERSIONS, *SAME_TENSORS} == MIXERS.keys()
    assert len(set(LETTERS.values())) == len(LETTERS)
    assert all(len(letter) == 1 and letter.isupper() for letter in LETTERS.values())


@every_mixer
@pytest.mark.parametrize("length", [1, 3, 21])
def test_values_and_gradients_are_those_of_the_equations(kind, length):
    torch.manual_seed(1)
    m = shaken(MIXERS[kind](SIZES).double())
    x = torch.randn(2, length, SIZES.d_model, dtype=torch.float64, requires_grad=True)
    local = torch.stack([generated(length, 2), generated(length, 5)])
    context = sequence_context(length, None, SIZES, x.device, local)
    found = m(x, context)
    expected = torch.stack([PLAIN[kind](m, *row) for row in zip(x, local, strict=True)])
    assert_same(found, expected)
    wanted, weight = [x, *m.parameters()], torch.randn_like(expected)
    pairs = [torch.autograd.grad((y * weight).sum(), wanted) for y in (found, expected)]
    for one, other in zip(*pairs, strict=True):
        assert_same(one, other)


@every_mixer
@pytest.mark.parametrize("split", [(1, *[1] * 19), (20,), (5, 2, 1, 9, 1, 2)])
def test_a_prefill_and_steps_of_any_size_are_the_whole_sequence(kind, split):
    model = decoder_of(kind)
    x = torch.randn(2, 20, SIZES.d_model, dtype=torch.float64)
    local = torch.stack([generated(20, split[0]), generated(20, split[0] + 3)])
    first, state = model.prefill(x[:, : split[0]], None, max_length=20)
    parts, start = [first], split[0]
    for size in split[1:]:
        part = slice(start, start + size)
        # Without a word about them, all are generated.
        told = None if bool(local[:, part].all()) else local[:, part]
        parts.append(model.step(x[:, part], state, told))
        start += size
    assert_same(torch.cat(parts, 1), model(x, local=local)[0])


@every_mixer
@pytest.mark.parametrize("left", [False, True])
def test_rows_of_a_padded_batch_are_what_they_are_alone(kind, left):
    model, lengths, total = decoder_of(kind), (11, 4, 1), 13
    rows = [torch.randn(n + 6, SIZES.d_model, dtype=torch.float64) for n in lengths]
    speech = [generated(n + 6, n) for n in lengths]
    x = torch.full((len(rows), total, SIZES.d_model), float("nan"), dtype=torch.float64)
    mask = torch.zeros(len(rows), total, dtype=torch.bool)
    local = torch.zeros_like(mask)
    for i, n in enumerate(lengths):
        place = slice(total - n, total) if left else slice(0, n)
        x[i, place], mask[i, place] = rows[i][:n], True
        local[i, place] = generated(n, 2)
    x.requires_grad_()
    outputs = model(x, mask, local=local)[0]
    (grad,) = torch.autograd.grad(outputs[mask].square().sum(), x)
    prefilled, state = model.prefill(x.detach(), mask, max_length=total + 6)
    later = torch.stack([row[n:] for row, n in zip(rows, lengths, strict=True)])
    told = torch.stack([one[n:] for one, n in zip(speech, lengths, strict=True)])
    steps = [model.step(later[:, part], state, told[:, part]) for part in (slice(1), slice(1, 6))]
    assert not bool(grad[~mask].any())
    for i, (row, n) in enumerate(zip(rows, lengths, strict=True)):
        alone = row[:n].clone().requires_grad_()
        expected = model(alone[None], local=generated(n, 2)[None])[0][0]
        (own,) = torch.autograd.grad(expected.square().sum(), alone)
        assert_same(outputs[i, mask[i]], expected)
        assert_same(grad[i, mask[i]], own)
        decoded = model(row[None], local=speech[i][None])[0][0]
        assert_same(torch.cat((prefilled[i, mask[i]], *[step[i] for step in steps])), decoded)
