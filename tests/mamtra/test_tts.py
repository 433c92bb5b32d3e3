"""The synthesizer on tiny random parts."""

import pytest
import torch

from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.speech_lm import SpeechLM
from mamtra.speech.codec import CodecNetwork
from mamtra.speech.mini_codec import MiniCodec
from mamtra.speech.vocoder import Vocoder
from mamtra.systems import system_of
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


class Whole(CharacterTokenizer):
    """Reads a text in one piece, however many sentences it has."""

    def pieces(self, text: str) -> list[str]:
        return [self.whole(text)]


def test_pieces_are_spoken_one_after_the_other_with_the_same_prompt():
    plain, speaker = synthesizer(), synthesizer()
    wave = 0.1 * torch.randn(8000)
    prompt, other = plain.prompt("hi there", wave), plain.prompt("stop", wave)
    whole = speaker.speak("go on. go on. stop", prompt, seed=3)
    first = plain.speak("go on.", prompt, seed=3)
    assert whole.tokens[: len(first.tokens)] == first.tokens
    assert whole.wave.shape == (640 * len(whole.tokens),)
    second = whole.tokens[len(first.tokens) : 2 * len(first.tokens)]
    assert second != first.tokens, "each piece draws numbers of its own"
    batch = speaker.speak_batch(["go on. go on. stop", "stop"], [prompt, other], [3, 4])
    assert batch[0].tokens == whole.tokens
    assert batch[1].tokens == plain.speak("stop", other, seed=4).tokens


def test_a_text_that_is_not_split_is_spoken_in_one_go():
    speaker, plain = synthesizer(), synthesizer()
    plain.tokenizer = Whole()
    prompt, text = speaker.prompt("hi there", 0.1 * torch.randn(8000)), "go on. go on. stop."
    whole = speaker.speak(text, prompt, seed=3, split=False)
    assert whole.tokens == plain.speak(text, prompt, seed=3).tokens
    assert whole.tokens != speaker.speak(text, prompt, seed=3).tokens


def test_a_sentence_that_fails_fails_alone():
    speaker = synthesizer()
    prompt = speaker.prompt("hi there", 0.1 * torch.randn(8000))
    alone = speaker.speak("go on.", prompt, seed=3)
    (bad,) = {*speaker.tokenizer.encode("z")} - {*speaker.tokenizer.encode("stop.")}
    with torch.no_grad():
        speaker.lm.text_embedding.weight[bad] = float("nan")
    texts, seeds = ["go on.", "stop. zoo. stop.", "go on."], [3, 4, 3]
    first, failed, last = speaker.speak_batch(texts, [prompt] * 3, seeds)
    assert first.tokens == last.tokens == alone.tokens and first.error is last.error is None
    assert failed.error.startswith("piece 2 of 3: the model produced logits")
    assert len(failed.wave) == 0
    with pytest.raises(ValueError, match="piece 2 of 3"):
        speaker.speak(texts[1], prompt, seed=4)
    with pytest.raises(ValueError, match="nothing can be drawn"):
        list(speaker.stream("zoo.", prompt, seed=4))


def test_a_codec_gets_the_prompt_as_it_was_recorded(monkeypatch):
    speaker, wave = synthesizer(), 0.1 * torch.randn(8000)
    original, seen = (0.1 * torch.randn(24_000), 48_000), []
    plain = MiniCodec.prompt

    def prompt(codec, wave, original=None):
        seen.append(original)
        return plain(codec, wave)

    monkeypatch.setattr(MiniCodec, "prompt", prompt)
    speaker.prompt("hi", wave, original)
    speaker.prompt("hi", wave)
    assert seen == [original, None]


def test_without_its_text_the_model_sees_nothing_of_the_prompt():
    speaker, wave = synthesizer(), 0.1 * torch.randn(8000)
    prompt, other = speaker.prompt(None, wave), speaker.prompt(None, wave.flip(0))
    assert prompt.text_ids == [] and len(prompt.tokens) == 0
    first, second = (speaker.speak("go on", p, seed=1) for p in (prompt, other))
    assert first.tokens == second.tokens != speaker.synthesize("go on", "hi", wave, 1).tokens
    assert not torch.equal(first.wave, second.wave), "the voice is the prompt's"


def test_the_stream_of_a_text_is_its_speech():
    speaker, wave = synthesizer(), 0.1 * torch.randn(8000)
    prompt = speaker.prompt("hi there", wave)
    chunks = list(speaker.stream("go on", prompt, seed=1))
    assert torch.equal(torch.cat(chunks), speaker.speak("go on", prompt, seed=1).wave)
    long = "go on. go on. stop."
    whole = speaker.speak(long, prompt, seed=1)
    streamed = torch.cat(list(speaker.stream(long, prompt, seed=1)))
    assert torch.equal(streamed, whole.wave), "a long text is spoken in the same pieces"
    in_one_go = torch.cat(list(speaker.stream(long, prompt, seed=1, split=False)))
    assert torch.equal(in_one_go, speaker.speak(long, prompt, seed=1, split=False).wave)
    speaker.tokenizer = CharacterTokenizer()
    pieces = speaker.stream(iter(["go ", "on now"]), prompt, seed=1, max_ratio=9.0)
    assert len(torch.cat(list(pieces))) % 640 == 0


def test_the_frontend_bounds_the_length_where_the_call_does_not(monkeypatch):
    monkeypatch.setattr(CharacterTokenizer, "length_ratios", (1.0, 1.0))
    speaker, prompt = synthesizer(), 0.1 * torch.randn(8000)
    assert len(speaker.synthesize("go on", "hi", prompt, seed=1).tokens) == len("go on.")
    longer = speaker.synthesize("go on", "hi", prompt, seed=1, min_ratio=2.0, max_ratio=2.0)
    assert len(longer.tokens) == 2 * len("go on.")


def test_the_system_is_told_by_its_files(tmp_path):
    with pytest.raises(ValueError, match=r"codec\.safetensors \(mini\) or flow\.pt \(cosyvoice2\)"):
        system_of(tmp_path)
    (tmp_path / "flow.pt").touch()
    assert system_of(tmp_path).name == "cosyvoice2"
    assert [path.name for path in system_of(tmp_path).present(tmp_path)] == ["flow.pt"]
    (tmp_path / "codec.safetensors").touch()
    assert system_of(tmp_path).name == "mini"
