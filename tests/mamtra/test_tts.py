"""The synthesizer on tiny random parts."""

import pytest
import torch

from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.speech_lm import SpeechLM
from mamtra.speech.codec import CodecNetwork
from mamtra.speech.mini_codec import MiniCodec
from mamtra.speech.vocoder import Vocoder
from mamtra.text.characters import CharacterTokenizer
from mamtra.tts import Synthesizer

SIZES = BackboneSizes(d_model=16, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=16)


def synthesizer(speech_vocab: int = 1000) -> Synthesizer:
    torch.manual_seed(0)
    network = CodecNetwork(16, 8, (8, 5, 5, 5), 1, 1, 1)
    lm = SpeechLM(SIZES, ("attention", "mamba"), CharacterTokenizer().vocab_size, speech_vocab)
    return Synthesizer(lm, MiniCodec(network, Vocoder(8, 1)).eval(), CharacterTokenizer())


def test_equal_seeds_speak_equally_and_length_follows_the_tokens():
    speaker, prompt = synthesizer(), 0.1 * torch.randn(8000)
    first = speaker.synthesize("go on", "hi there", prompt, seed=1)
    again = speaker.synthesize("go on", "hi there", prompt, seed=1)
    other = speaker.synthesize("go on", "hi there", prompt, seed=2)
    assert first.tokens == again.tokens != other.tokens
    assert torch.equal(first.wave, again.wave)
    assert first.wave.shape == (640 * len(first.tokens),)
    assert first.lm_s > 0 and first.vocode_s > 0


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="999 codes"):
        synthesizer(speech_vocab=999)


def test_bad_text_is_named():
    with pytest.raises(ValueError, match="position 2"):
        synthesizer().synthesize("go§", "hi", 0.1 * torch.randn(8000), seed=0)
