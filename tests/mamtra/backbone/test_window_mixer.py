"""Window attention: what is seen, what a state holds, and rows that come and go. Equations: test_mixers.py."""

import pytest
import torch

from mamtra.backbone.context import sequence_context
from mamtra.backbone.decoder import Decoder
from mamtra.backbone.layer_plan import parse_plan
from mamtra.backbone.sizes import BackboneSizes

SIZES = BackboneSizes(
    d_model=16, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=4, d_ff=16, window=3
)


def decoder(letters="WW", **changes):
    torch.manual_seed(0)
    return Decoder(SIZES, parse_plan(letters)).double().eval()


def rows(n, length):
    return torch.randn(n, length, SIZES.d_model, dtype=torch.float64)


def test_the_mask_by_hand():
    local = torch.tensor([[0, 0, 1, 1, 1, 1, 0, 1]], dtype=torch.bool)
    context = sequence_context(8, None, SIZES, local.device, local, window=3)
    assert context.window_mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 1, 1, 0, 0],  # three generated ones, itself among them
        [1, 1, 0, 1, 1, 1, 1, 0],  # text in between sees the last three and stays
        [1, 1, 0, 0, 1, 1, 1, 1],
    ]


def test_a_window_as_long_as_the_speech_is_attention():
    model, full = decoder("WW"), decoder("AA")
    full.load_state_dict(model.state_dict())
    x, local = rows(1, 12), torch.arange(12)[None] >= 4
    assert not torch.allclose(model(x, local=local)[0], full(x)[0])
    model.window = 8
    torch.testing.assert_close(model(x, local=local)[0], full(x)[0])
    model.window = 3
    torch.testing.assert_close(model(x, local=torch.zeros_like(local))[0], full(x)[0])


def test_a_sequence_whose_speech_is_unknown_is_refused():
    with pytest.raises(ValueError, match=r"which positions are generated.*generated=batch"):
        decoder()(rows(1, 4))


def test_the_state_is_conditioning_and_a_ring_however_long_it_speaks():
    model = decoder()
    _, state = model.prefill(rows(2, 7), None, max_length=500)
    before = [layer.num_bytes() for layer in state.layers]
    slots = SIZES.window + 7
    expected = 2 * (2 * SIZES.n_kv_heads * slots * SIZES.head_dim * 8 + slots + 8)
    assert before == [expected] * 2
    for _ in range(20):
        model.step(rows(2, 1), state)
    assert [layer.num_bytes() for layer in state.layers] == before
    made = model.new_state(2, 500, torch.float64, conditioning=7)
    assert [layer.num_bytes() for layer in made.layers] == before
    # Four more tokens of text, in one row only.
    model.step(rows(2, 4), state, torch.tensor([[True] * 4, [False] * 4]))
    grown = 2 * (2 * SIZES.n_kv_heads * (slots + 4) * SIZES.head_dim * 8 + slots + 4 + 8)
    assert [layer.num_bytes() for layer in state.layers] == [grown] * 2


def test_the_ring_is_in_the_precision_of_the_cache():
    model = decoder().float()
    x = rows(1, 12).float()
    expected = model(x, local=torch.arange(12)[None] >= 4)[0]
    _, state = model.prefill(x[:, :4], None, max_length=12, dtype=torch.bfloat16)
    assert all(layer.slots.keys.dtype == torch.bfloat16 for layer in state.layers)
    found = torch.cat([model.step(x[:, i : i + 1], state) for i in range(4, 12)], dim=1)
    assert (found - expected[:, 4:]).norm() / expected[:, 4:].norm() < 0.02


def test_a_row_of_another_state_goes_on_where_it_was():
    """What decoding rows that come and go needs: a longer prompt than any before, and a shorter one."""
    model = decoder("WW")
    for length in (9, 2):
        _, state = model.prefill(rows(3, 4), None, max_length=40)
        x = rows(1, length + 8)
        _, other = model.prefill(x[:, :length], None, max_length=40)
        model.step(x[:, length : length + 1], other)
        state.resize(3)  # made before there is room for the longer row
        kept = other.copy_row(0)
        width = SIZES.window + length
        assert all(layer.slots.filled.shape[1] == width for layer in kept.slots)
        state.take_row(1, kept, 0)
        found = []
        for i in range(length + 1, length + 8):
            step = torch.cat((rows(1, 1), x[:, i : i + 1], rows(1, 1)))
            found.append(model.step(step, state)[1])
        expected = model(x, local=torch.arange(length + 8)[None] >= length)[0]
        torch.testing.assert_close(torch.cat(found), expected[0, length + 1 :])
