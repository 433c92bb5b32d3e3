"""Reading piece by piece is reading at once, whatever the pieces are, with state that does not grow."""

from dataclasses import replace

import pytest
import torch

from mamtra.mvc.stream import ConditionStream
from mamtra.mvc.voice import Voices

IDS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 3, 5]


def with_durations(make, sizes, arm="mvc"):
    """A model whose tokens take zero to some seven frames, odd sums among them."""
    model = make(arm, sizes)
    with torch.no_grad():
        model.rhythm.duration.weight.normal_(std=0.4, generator=torch.Generator().manual_seed(3))
        model.rhythm.duration.bias.fill_(1.3)
    return model


def streamed(model, voices, cuts):
    stream, pieces = ConditionStream(model, voices), []
    for first, last in zip((0, *cuts), (*cuts, len(IDS)), strict=True):
        pieces.append(stream.push(IDS[first:last], final=last == len(IDS)))
    return pieces


@pytest.mark.parametrize("lookahead", [0, 2, 5, 9])
@pytest.mark.parametrize("cuts", [(), (1, 2, 3, 7), (5,), tuple(range(1, 14)), (4, 4, 13)])
@torch.inference_mode()
def test_pieces_are_the_whole(make, tiny, voices, lookahead, cuts):
    model = with_durations(make, replace(tiny, lookahead=lookahead))
    one = Voices(voices.embedding[:1])
    pieces = streamed(model, one, cuts)
    lengths = torch.tensor([len(IDS)])
    style = model.voice(one)
    _, log_durations, rows = model.read(torch.tensor([IDS]), lengths, style)
    durations = model.durations(log_durations, rows)
    found = torch.cat([piece.durations for piece in pieces], dim=1)
    assert torch.equal(found, durations) and int(durations.sum()) > 20
    whole = model.condition(torch.tensor([IDS]), lengths, one, durations).prosody
    parts = [piece.prosody for piece in pieces if piece.prosody is not None]
    for name in ("mu", "log_f0", "voicing", "energy"):
        joined = torch.cat([getattr(part, name) for part in parts], dim=1)
        torch.testing.assert_close(joined, getattr(whole, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cuts", [(), (3,)])
@torch.inference_mode()
def test_a_text_of_no_frames_gets_two_as_it_does_at_once(make, tiny, voices, cuts):
    model = make("mvc", replace(tiny, lookahead=2))
    model.rhythm.duration.weight.zero_()
    model.rhythm.duration.bias.fill_(-5.0)
    one = Voices(voices.embedding[:1])
    pieces = streamed(model, one, cuts)
    assert sum(int(piece.durations.sum()) for piece in pieces) == 2
    assert pieces[-1].prosody is not None and pieces[-1].prosody.mu.shape[1] == 1
    if not cuts:
        whole = model.speak([IDS], one, [0], 0).durations[0]
        assert torch.equal(pieces[0].durations[0], whole)
    with pytest.raises(ValueError, match="pace must be a number above 0"):
        ConditionStream(model, one, pace=0.0)


def test_frames_come_before_the_text_has_ended_and_the_state_stays_small(make, tiny, voices):
    model = with_durations(make, replace(tiny, lookahead=2))
    stream = ConditionStream(model, Voices(voices.embedding[:1]))
    assert stream.push(IDS[:2], final=False).prosody is None
    assert stream.push(IDS[2:6], final=False).prosody is not None
    before = stream.num_bytes()
    for _ in range(20):
        stream.push(IDS[:6], final=False)
    assert stream.num_bytes() == before > 0


@pytest.mark.parametrize(("arm", "lookahead"), [("mvc", None), ("conv", None), ("attention", None)])
def test_models_that_see_it_all_are_refused(make, tiny, voices, arm, lookahead):
    with pytest.raises(ValueError, match="piece by piece"):
        ConditionStream(make(arm, replace(tiny, lookahead=lookahead)), voices)


def test_an_arm_with_another_expressive_encoder_is_refused(make, tiny, voices):
    with pytest.raises(ValueError, match="no_expressive_conv with lookahead=2"):
        ConditionStream(make("no_expressive_conv", replace(tiny, lookahead=2)), voices)
