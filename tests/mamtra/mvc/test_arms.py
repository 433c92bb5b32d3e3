"""The arms: equally large, blind to padding, and each what it says it is."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mamtra.mvc.arms import ARMS, STATE_SPACE_ONLY, arm_of, n_parameters
from mamtra.mvc.blocks import AdaLN
from mamtra.mvc.mixers import NOWHERE, BiLSTM, BiMamba
from mamtra.mvc.model import build
from mamtra.mvc.rows import Rows
from mamtra.mvc.sizes import MVCSizes
from mamtra.mvc.voice import Voices

SPEAKING = [name for name, arm in ARMS.items() if not arm.leak]
MATCHED = [name for name in ARMS if not name.startswith("no_") or name.endswith("_conv")]
MINI = MVCSizes(
    vocab=74,
    d_model=128,
    n_heads=8,
    n_kv_heads=2,
    head_dim=32,
    text_blocks=4,
    temporal_blocks=2,
    expressive_blocks=3,
    d_voice=256,
    d_style=64,
    reference="ge2e",
    lookahead=None,
    decoder_width=192,
    decoder_blocks=6,
)
# What no operation from (text, style) to frames may be called.
FORBIDDEN = ("softmax", "scaled_dot_product", "lstm", "gru", "rnn")


class Operations(TorchDispatchMode):
    """Collects the names of all operations that run inside."""

    def __init__(self):
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))

    @property
    def forbidden(self) -> set[str]:
        return {name for name in self.names if any(word in name for word in FORBIDDEN)}


def test_an_unknown_arm_lists_those_that_there_are(tiny):
    with pytest.raises(ValueError, match=r"no arm is called 'rnn'; valid: mvc, gated, .*leak"):
        build(tiny, "rnn")


def conditioning(arm: str) -> int:
    with torch.device("meta"):
        return sum(n_parameters(part) for part in build(MINI, arm).conditioning())


@pytest.mark.parametrize("arm", MATCHED)
def test_conditioning_has_the_same_number_of_parameters_in_every_arm(arm):
    assert conditioning(arm) == pytest.approx(conditioning("mvc"), rel=0.02)


def test_identity_arms_are_smaller_and_all_share_the_decoder():
    assert conditioning("no_text") < 0.6 * conditioning("mvc")
    with torch.device("meta"):
        decoders = {n_parameters(build(MINI, arm).decoder) for arm in ARMS}
    assert len(decoders) == 1


@pytest.mark.parametrize("arm", SPEAKING)
def test_a_padded_batch_says_what_its_rows_say_alone(make, voices, arm):
    model = make(arm)
    ids = torch.tensor([[1, 2, 3, 4, 5, 6], [7, 8, 9, 0, 0, 0], [3, 5, 7, 9, 0, 0]])
    lengths = torch.tensor([6, 3, 4])
    durations = torch.tensor([[3, 4, 2, 5, 4, 4], [4, 5, 3, 0, 0, 0], [2, 2, 9, 3, 0, 0]])
    whole = model.condition(ids, lengths, voices, durations)
    for row, n in enumerate(lengths.tolist()):
        voice = Voices(voices.embedding[row : row + 1])
        one = slice(row, row + 1)
        alone = model.condition(ids[one, :n], lengths[one], voice, durations[one, :n])
        frames = alone.prosody.mu.shape[1]
        pairs = [(whole.log_durations[one, :n], alone.log_durations)]
        pairs += [(whole.prosody.mu[one, :frames], alone.prosody.mu)]
        pairs += [(whole.prosody.log_f0[one, : 2 * frames], alone.prosody.log_f0)]
        for found, wanted in pairs:
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arm", SPEAKING)
def test_what_lies_behind_a_row_changes_nothing(make, voices, arm):
    model = make(arm)
    ids = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0], [7, 8, 9, 0]])
    durations = torch.tensor([[3, 4, 2, 5], [4, 5, 0, 0], [2, 2, 9, 0]])
    other = ids.clone()
    other[1, 2:], other[2, 3:] = 11, 10
    lengths = torch.tensor([4, 2, 3])
    a, b = (model.condition(i, lengths, voices, durations) for i in (ids, other))
    assert torch.equal(a.prosody.mu[1, :4], b.prosody.mu[1, :4])
    assert torch.equal(a.log_durations[1, :2], b.log_durations[1, :2])


def test_two_lstms_of_reversed_rows_are_a_bidirectional_one_of_packed_rows():
    torch.manual_seed(0)
    mixer, width = BiLSTM(MINI, 7), 7
    packed = torch.nn.LSTM(MINI.d_model, width, batch_first=True, bidirectional=True)
    theirs = dict(packed.named_parameters())
    for suffix, layer in (("", mixer.ahead), ("_reverse", mixer.back)):
        for name, parameter in layer.named_parameters():
            theirs[name + suffix].data.copy_(parameter)
    x = torch.randn(3, 9, MINI.d_model)
    lengths = torch.tensor([9, 4, 1])
    rows = Rows.of(lengths, 9)
    into = [x.clone().requires_grad_() for _ in range(2)]
    ours = mixer(into[0], rows) * rows.mask
    y, _ = packed(
        torch.nn.utils.rnn.pack_padded_sequence(
            into[1], lengths, batch_first=True, enforce_sorted=False
        )
    )
    y = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0]
    wanted = mixer.out(y) * rows.mask
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)
    for output in (ours, wanted):
        output.square().sum().backward(retain_graph=True)
    torch.testing.assert_close(into[0].grad, into[1].grad, rtol=1e-4, atol=1e-4)
    for suffix, layer in (("", mixer.ahead), ("_reverse", mixer.back)):
        for name, parameter in layer.named_parameters():
            torch.testing.assert_close(
                parameter.grad, theirs[name + suffix].grad, rtol=1e-4, atol=1e-4
            )


def speaking_operations(model, voices) -> Operations:
    with Operations() as seen:
        model.speak([[1, 2, 3, 4, 5], [6, 7, 8]], Voices(voices.embedding[:2]), [0, 1], 2)
    return seen


@pytest.mark.parametrize("arm", [*STATE_SPACE_ONLY, "conv"])
def test_neither_attention_nor_a_recurrent_network_runs_from_text_and_voice_to_frames(
    make, voices, arm
):
    assert not speaking_operations(make(arm), voices).forbidden


def test_the_strict_row_reads_the_prompts_mel_with_a_mamba_too(make, tiny, voices):
    model = make("mvc", replace(tiny, reference="ref_mel"))
    assert model.voice.embedded is None
    mel = torch.randn(2, 12, 80)
    heard = Voices(voices.embedding[:2], mel, torch.tensor([12, 8]))
    with Operations() as seen:
        model.speak([[1, 2, 3, 4, 5], [6, 7, 8]], heard, [0, 1], 2)
    assert not seen.forbidden
    with pytest.raises(ValueError, match="mel is missing"):
        model.speak([[1, 2]], Voices(voices.embedding[:1]), [0], 1)


@pytest.mark.parametrize("arm", ["attention", "hybrid", "bilstm"])
def test_the_other_arms_are_found_out(make, voices, arm):
    assert speaking_operations(make(arm), voices).forbidden


def test_gate_of_ones_is_the_plain_fusion_and_directions_swap_with_the_input(tiny):
    torch.manual_seed(0)
    mixer = BiMamba(tiny, 0, gate=True, forward_only=False).eval()
    x = torch.randn(1, 5, tiny.d_model)
    rows = Rows.of(torch.tensor([5]), 5)
    context = rows.context(mixer.sizes)
    with torch.no_grad():
        assert mixer.gate is not None
        mixer.gate.weight.zero_()
        mixer.gate.bias.fill_(100.0)  # sigmoid = 1
        ahead = mixer.ahead(x, context)
        back = rows.reverse(mixer.back(rows.reverse(x), context))
        plain = mixer.out(torch.cat((ahead, back), dim=-1))
        torch.testing.assert_close(mixer(x, rows), plain)
        mixer.back.load_state_dict(mixer.ahead.state_dict())
        turned = rows.reverse(mixer.back(x, context))
        torch.testing.assert_close(mixer.ahead(rows.reverse(rows.reverse(x)), context), ahead)
        torch.testing.assert_close(rows.reverse(turned), ahead)


@torch.no_grad()
def test_both_directions_are_the_recurrence_one_token_after_the_other(tiny):
    """The sequence's own operations against the plain steps, over a padded row as well."""
    torch.manual_seed(0)
    mixer = BiMamba(tiny, 0, gate=True, forward_only=False).eval()
    x, lengths = torch.randn(2, 70, tiny.d_model), (70, 33)
    found = mixer(x, Rows.of(torch.tensor(lengths), 70))
    for row, n in enumerate(lengths):
        both = []
        for layer, flipped in ((mixer.ahead, False), (mixer.back, True)):
            own = x[row : row + 1, :n].flip(1) if flipped else x[row : row + 1, :n]
            state = layer.new_state(1, n, x.dtype, x.device)
            steps = [layer.step(own[:, t : t + 1], NOWHERE, state) for t in range(n)]
            said = torch.cat(steps, dim=1)
            both.append(said.flip(1) if flipped else said)
        wanted = mixer._fused(torch.cat(both, dim=-1))
        torch.testing.assert_close(found[row : row + 1, :n], wanted, rtol=1e-4, atol=1e-5)


def test_adaln_starts_as_layer_norm(tiny):
    x, style = torch.randn(2, 3, tiny.d_model), torch.randn(2, tiny.d_style)
    wanted = torch.nn.functional.layer_norm(x, (tiny.d_model,))
    torch.testing.assert_close(AdaLN(tiny)(x, style), wanted)


@pytest.mark.parametrize("lookahead", [0, 2, 8])
def test_a_bounded_look_ahead_sees_no_further(make, tiny, voices, lookahead):
    model = make("mvc", replace(tiny, lookahead=lookahead))
    ids = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2]])
    lengths = torch.tensor([12])
    with torch.no_grad():
        style = model.voice(Voices(voices.embedding[:1]))
        before, durations, _ = model.read(ids, lengths, style)
        for changed in range(1, 12):
            other = ids.clone()
            other[0, changed] = 11
            after, moved, _ = model.read(other, lengths, style)
            first = changed - lookahead
            if first > 0:
                assert torch.equal(before[0, :first], after[0, :first])
                assert torch.equal(durations[0, :first], moved[0, :first])
            if first >= 0:
                assert not torch.allclose(before[0, first], after[0, first])


def test_the_convolutions_have_the_look_ahead_first(tiny):
    found = {n: replace(tiny, lookahead=n) for n in (None, 0, 1, 5, 6, 19)}
    assert {n: s.conv_ahead for n, s in found.items()} == {
        None: (2, 2, 2),
        0: (0, 0, 0),
        1: (1, 0, 0),
        5: (2, 2, 1),
        6: (2, 2, 2),
        19: (2, 2, 2),
    }
    assert [s.block_ahead for s in found.values()] == [0, 0, 0, 0, 0, 13]


def test_a_bounded_look_ahead_costs_no_parameters_and_is_mambas_alone(tiny):
    with torch.device("meta"):
        sizes = {n_parameters(build(replace(MINI, lookahead=n), "mvc")) for n in (None, 0, 19)}
    assert len(sizes) == 1
    with pytest.raises(ValueError, match="only Mamba encoders"):
        build(replace(tiny, lookahead=3), "attention")


def test_the_arms_say_what_stands_where():
    assert arm_of("hybrid").text == "mamba" and arm_of("hybrid").temporal == "attention"
    assert not arm_of("concat").gate and not arm_of("concat").adaln
    assert [name for name, arm in ARMS.items() if arm.leak] == ["leak"]
