"""The vocoder piece by piece says what it says at once, and holds no more after an hour than after a second."""

import pytest
import torch

from mamtra.speech.codec import N_ACOUSTIC
from mamtra.speech.features import HOP, N_MELS
from mamtra.speech.vocoder import Vocoder
from mamtra.speech.vocoder_stream import CONTEXT, VocoderStream
from tests.near import assert_near

F = 90


@pytest.fixture
def vocoder():
    torch.manual_seed(0)
    made = Vocoder(width=16, n_blocks=6).eval()
    # Filters that matter: they start near one.
    torch.nn.init.normal_(made.outlet.weight, std=0.3)
    return made


def inputs(n=F):
    generator = torch.Generator().manual_seed(1)
    frames = torch.randn(1, n, N_ACOUSTIC, generator=generator)
    frames[..., N_MELS] = 0.4 * torch.sin(torch.arange(n) / 9)
    return frames, torch.randn(1, n * HOP, generator=generator)


@pytest.mark.parametrize(
    "cuts", [(), (1, 2, 3), (12, 13, 40), (45,), tuple(range(5, 90, 5)), (89,)]
)
@torch.inference_mode()
def test_pieces_are_the_whole(vocoder, cuts):
    frames, noise = inputs()
    whole, stream, said = vocoder(frames, noise)[0], VocoderStream(vocoder), []
    for first, last in zip((0, *cuts), (*cuts, F), strict=True):
        piece = (frames[:, first:last], noise[:, first * HOP : last * HOP])
        said.append(stream.push(*piece, final=last == F))
    found = torch.cat(said)
    assert found.shape == whole.shape
    assert_near(found, whole, 256)


@torch.inference_mode()
def test_the_last_piece_may_be_empty(vocoder):
    frames, noise = inputs(30)
    stream = VocoderStream(vocoder)
    said = [stream.push(frames, noise), stream.push(frames[:, :0], noise[:, :0], final=True)]
    assert len(said[0]) == (30 - 1 - CONTEXT) * HOP
    assert_near(torch.cat(said), vocoder(frames, noise)[0], 256)


@torch.inference_mode()
def test_what_is_held_does_not_grow(vocoder):
    frames, noise = inputs(40)
    stream = VocoderStream(vocoder)
    stream.push(frames, noise)
    held = stream.num_bytes()
    for _ in range(20):
        stream.push(frames, noise)
    assert stream.num_bytes() == held


def test_bad_input_is_named(vocoder):
    frames, noise = inputs(3)
    with pytest.raises(ValueError, match="3 frames need 480 samples of noise"):
        VocoderStream(vocoder).push(frames, noise[:, :-1])
    with pytest.raises(ValueError, match="a vocoder of 9 blocks sees beyond"):
        VocoderStream(Vocoder(width=8, n_blocks=9))
