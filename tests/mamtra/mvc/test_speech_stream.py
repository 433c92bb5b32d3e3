"""Decoder and vocoder behind a text that comes in pieces: the speech of the whole, with bounded state."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from mamtra.mvc.decoder_stream import DecoderStream, reach
from mamtra.mvc.rows import Rows
from mamtra.mvc.sizes import N_STACKED
from mamtra.mvc.voice import Voices
from mamtra.mvc_stream import SpeechStream
from mamtra.speech.features import HOP
from mamtra.speech.vocoder import Vocoder
from tests.mamtra.mvc.test_stream import IDS, with_durations
from tests.near import assert_near

F = 60


def told(model, seed=2):
    generator = torch.Generator().manual_seed(seed)
    mu = torch.randn(1, F, N_STACKED, generator=generator)
    return (
        mu,
        torch.randn(1, F, 6, generator=generator),
        model.voice(
            Voices(torch.nn.functional.normalize(torch.randn(1, 6, generator=generator), dim=-1))
        ),
    )


def pushed(stream, mu, prosody, cuts):
    said = []
    for first, last in zip((0, *cuts), (*cuts, F), strict=True):
        said.append(stream.push(mu[:, first:last], prosody[:, first:last], final=last == F))
    return torch.cat(said, dim=1)


@pytest.mark.parametrize("n_steps", [0, 1, 3])
@pytest.mark.parametrize("cuts", [(), (7, 20, 41), tuple(range(3, 60, 3))])
@torch.inference_mode()
def test_a_decoder_that_waits_long_enough_says_what_it_says_at_once(make, n_steps, cuts):
    model = make("mvc")
    mu, prosody, style = told(model)
    noise = torch.randn(F, N_STACKED, generator=torch.Generator().manual_seed(4))[None]
    rows = Rows.of(torch.tensor([F]), F)
    whole = model.decoder.sample(noise, mu, prosody, style, rows, n_steps)
    stream = DecoderStream(model.decoder, style, 4, n_steps)
    assert stream.ahead == n_steps * reach(model.decoder) == n_steps * (2 + 4)
    assert_near(pushed(stream, mu, prosody, cuts), whole, 64)


@torch.inference_mode()
def test_one_that_waits_less_is_near_and_the_sooner_the_farther(make):
    model = make("mvc")
    mu, prosody, style = told(model)
    cuts = tuple(range(5, 60, 5))
    whole = pushed(DecoderStream(model.decoder, style, 4, 3), mu, prosody, cuts)
    gaps = [
        float(
            (pushed(DecoderStream(model.decoder, style, 4, 3, a), mu, prosody, cuts) - whole).norm()
        )
        for a in (0, 4, 12, 18)
    ]
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3] == pytest.approx(0, abs=1e-4)
    assert gaps[0] < 0.5 * float(whole.norm())
    with pytest.raises(ValueError, match="ahead must not be negative, got -1"):
        DecoderStream(model.decoder, style, 4, 3, -1)
    stream = DecoderStream(model.decoder, style, 4, 3)
    with pytest.raises(ValueError, match="a stream without frames"):
        stream.finish()
    begun = stream.push(mu, prosody)
    ended = torch.cat((begun, stream.finish()), dim=1)
    torch.testing.assert_close(ended, whole)
    assert stream.finish().shape == (1, 0, N_STACKED)


@pytest.fixture
def synthesizer(make, tiny):
    torch.manual_seed(0)
    vocoder = Vocoder(width=16, n_blocks=6).eval()
    torch.nn.init.normal_(vocoder.outlet.weight, std=0.3)
    model = with_durations(make, replace(tiny, lookahead=2))
    return SimpleNamespace(model=model, codec=SimpleNamespace(vocoder=vocoder))


@pytest.mark.parametrize("cuts", [(), (1, 2, 7), tuple(range(1, 14)), (14,)])
@torch.inference_mode()
def test_speech_in_pieces_is_speech_at_once(synthesizer, voices, cuts):
    model, one = synthesizer.model, Voices(voices.embedding[:1])
    [frames] = model.speak([IDS], one, [7], 2).frames
    noise = torch.randn(1, len(frames) * HOP, generator=torch.Generator().manual_seed(0))
    whole = synthesizer.codec.vocoder(frames[None], noise)[0].clamp(-1, 1)
    stream = SpeechStream(synthesizer, one, seed=7, n_steps=2, ahead=None)
    ends = (*cuts, len(IDS))
    said = [
        stream.push(IDS[first:last], final=i == len(cuts))
        for i, (first, last) in enumerate(zip((0, *cuts), ends, strict=True))
    ]
    found = torch.cat(said)
    assert found.shape == whole.shape and len(found) > 2000
    # Pitch differs by its rounding, phase is its sum over all samples, and harmonics are up to sixty times as
    # fast: 3e-4 measured.
    assert float((found - whole).norm()) < 2e-3 * float(whole.norm())


@torch.inference_mode()
def test_sound_comes_before_the_text_ends_and_what_is_held_does_not_grow(synthesizer, voices):
    stream = SpeechStream(synthesizer, Voices(voices.embedding[:1]), seed=7, n_steps=1, ahead=3)
    heard = [len(stream.push(IDS[:6])) for _ in range(4)]
    assert sum(heard) > 0
    for _ in range(6):
        stream.push(IDS[:6])
    held = stream.num_bytes()
    for _ in range(20):
        stream.push(IDS[:6])
    # A frame more or less waits where a token ends.
    assert stream.num_bytes() == pytest.approx(held, rel=0.1)
    assert len(stream.push([], final=True)) > 0
