"""Text and a prompt in, speech out: language model, codec and tokenizer behind one method.

    tts = Synthesizer.load("runs/x/student", "assets/mini")
    speech = tts.synthesize("the garden was quiet", "we met at noon", prompt_wave, seed=1)
    soundfile.write("out.wav", speech.wave.numpy(), tts.sample_rate_hz)

Shapes: n samples, L text ids, T speech tokens, E width of the speaker embedding.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mamtra.lm.checkpoint import load_lm
from mamtra.lm.generate import generate_batch
from mamtra.lm.speech_lm import SpeechLM
from mamtra.speech import load_codec
from mamtra.speech.base import SpeechCodec
from mamtra.text.characters import CharacterTokenizer


@dataclass(frozen=True)
class Prompt:
    """What zero-shot synthesis takes from a recorded sentence: its text, its tokens, its voice."""

    text_ids: list[int]
    tokens: torch.Tensor  # (T,) int64
    voice: torch.Tensor  # (E,)


@dataclass(frozen=True)
class Synthesis:
    """wave: (n,) float32 at the codec's rate, tokens: the T generated codes, times in seconds.

    `lm_s` covers prefill and decoding (of a batch, its share), `vocode_s` tokens to waveform.
    `hit_max` says that the
    length limit ended the sentence instead of the end token.
    """

    wave: torch.Tensor
    tokens: list[int]
    lm_s: float
    vocode_s: float
    hit_max: bool


class Synthesizer:
    """Zero-shot speech synthesis. Equal inputs and seed give equal tokens on one machine."""

    def __init__(self, lm: SpeechLM, codec: SpeechCodec, tokenizer: CharacterTokenizer) -> None:
        if lm.speech_vocab != codec.codebook_size or lm.text_vocab != tokenizer.vocab_size:
            raise ValueError(
                f"the model speaks {lm.speech_vocab} codes and reads {lm.text_vocab} characters, "
                f"the codec has {codec.codebook_size} codes and the tokenizer "
                f"{tokenizer.vocab_size} characters"
            )
        self.lm = lm.eval()
        self.codec = codec
        self.tokenizer = tokenizer

    @classmethod
    def load(
        cls, model_folder: str | Path, codec_folder: str | Path, device: str = "cpu"
    ) -> "Synthesizer":
        """Load an exported model and the mini codec. Errors as `load_lm` and `load_codec`."""
        lm = load_lm(Path(model_folder), device=device)
        return cls(lm, load_codec(Path(codec_folder)), CharacterTokenizer())

    @property
    def sample_rate_hz(self) -> int:
        """Rate of prompt waves and of the output."""
        return self.codec.sample_rate_hz

    @torch.inference_mode()
    def prompt(self, text: str, wave: torch.Tensor) -> Prompt:
        """Encode a prompt once for many sentences: `wave` is (n,) at `sample_rate_hz`.

        Raises ValueError for a text that is empty or has characters outside the alphabet.
        """
        return Prompt(self.tokenizer.encode(text), self.codec.encode(wave), self.codec.voice(wave))

    def synthesize(
        self, text: str, prompt_text: str, prompt_wave: torch.Tensor, seed: int, **sampling: Any
    ) -> Synthesis:
        """Say `text` in the voice of the prompt.

        Args:
            text, prompt_text: sentences inside the tokenizer's alphabet.
            prompt_wave: (n,) at `sample_rate_hz`, the recording of `prompt_text`.
            seed: of the sampling.
            sampling: options of `mamtra.lm.generate.generate_batch`, such as `top_p`.
        """
        return self.speak(text, self.prompt(prompt_text, prompt_wave), seed, **sampling)

    def speak(self, text: str, prompt: Prompt, seed: int, **sampling: Any) -> Synthesis:
        """As `synthesize`, with a prompt that is encoded already."""
        return self.speak_batch([text], [prompt], [seed], **sampling)[0]

    @torch.inference_mode()
    def speak_batch(
        self, texts: Sequence[str], prompts: Sequence[Prompt], seeds: Sequence[int], **sampling: Any
    ) -> list[Synthesis]:
        """Several sentences decoded together, each with its own prompt and seed.

        A sentence's tokens do not depend on its neighbours, up to rounding. `lm_s` is the batch's time
        divided by its rows, so that sums and throughput stay right.
        """
        text_ids = [self.tokenizer.encode(text) for text in texts]
        results = generate_batch(
            self.lm,
            [[*prompt.text_ids, *ids] for prompt, ids in zip(prompts, text_ids, strict=True)],
            [prompt.tokens for prompt in prompts],
            [torch.Generator().manual_seed(seed) for seed in seeds],
            target_lengths=[len(ids) for ids in text_ids],
            **sampling,
        )
        spoken = []
        for result, prompt in zip(results, prompts, strict=True):
            start = time.perf_counter()
            wave = self.codec.decode(torch.tensor(result.tokens, dtype=torch.long), prompt.voice)
            vocode_s = time.perf_counter() - start
            lm_s = (result.prefill_s + result.decode_s) / len(results)
            wave = wave.float().cpu()
            spoken.append(Synthesis(wave, result.tokens, lm_s, vocode_s, result.hit_max))
        return spoken
