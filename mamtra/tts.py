"""Text and a prompt in, speech out: language model, codec and tokenizer behind one method.

    tts = Synthesizer.load("runs/x/student", "assets/mini")
    speech = tts.synthesize("the garden was quiet", "we met at noon", prompt_wave, seed=1)
    soundfile.write("out.wav", speech.wave.numpy(), tts.sample_rate_hz)

Shapes: n samples, L text ids, T speech tokens, E width of the speaker embedding.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mamtra.lm.checkpoint import load_lm
from mamtra.lm.generate import NOTHING_DRAWN, generate_batch
from mamtra.lm.speech_lm import SpeechLM
from mamtra.lm.stream import stream_bistream, stream_tokens
from mamtra.seeds import piece_seeds
from mamtra.speech.base import Original, SpeechCodec
from mamtra.systems import TextFrontend, sampling_of, system_of


@dataclass(frozen=True)
class Prompt:
    """What zero-shot synthesis takes from a recorded sentence: its text, its tokens, its voice."""

    text_ids: list[int]
    tokens: torch.Tensor  # (T,) int64
    voice: Any  # what the codec takes of it


@dataclass(frozen=True)
class Synthesis:
    """wave: (n,) float32 at the codec's rate, tokens: the T generated codes, times in seconds.

    `lm_s` covers prefill and decoding (of a batch, its share), `vocode_s` tokens to waveform.
    `hit_max` says that the length limit ended the sentence instead of the end token. `error` says why a
    sentence of a batch could not be spoken; its wave has no samples then.
    """

    wave: torch.Tensor
    tokens: list[int]
    lm_s: float
    vocode_s: float
    hit_max: bool
    error: str | None = None


class Synthesizer:
    """Zero-shot speech synthesis. Equal inputs and seed give equal tokens on one machine."""

    def __init__(
        self,
        lm: SpeechLM,
        codec: SpeechCodec,
        tokenizer: TextFrontend,
    ) -> None:
        """Raises ValueError for parts that do not fit together."""
        if lm.speech_vocab != codec.codebook_size or lm.text_vocab != tokenizer.vocab_size:
            raise ValueError(
                f"the model speaks {lm.speech_vocab} codes and reads {lm.text_vocab} characters, "
                f"the codec has {codec.codebook_size} codes and the tokenizer "
                f"{tokenizer.vocab_size} characters"
            )
        self.lm = lm.eval()
        self.codec = codec
        self.tokenizer = tokenizer
        # Defaults that the options of a call replace.
        self.sampling: dict[str, Any] = dict(sampling_of(tokenizer))

    @classmethod
    def load(
        cls,
        model_folder: str | Path,
        codec_folder: str | Path,
        device: str = "cpu",
        dtype: str = "fp32",
        compiled: bool = False,
    ) -> "Synthesizer":
        """Load an exported model and what surrounds it.

        dtype: of the language model's weights: fp32, bf16 or fp16. compiled: see `SpeechLM.compile_steps`.
        Errors as `load_lm`, `compile_steps`, `system_of` and the system's own loaders.
        """
        folder, system = Path(codec_folder), system_of(codec_folder)
        lm = load_lm(Path(model_folder), device=device, dtype=dtype)
        if compiled:
            lm.compile_steps()
        codec, text = system.load_codec(folder, device), system.load_text(folder)
        return cls(lm, codec, text)

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the output."""
        return self.codec.sample_rate_hz

    @property
    def input_rate_hz(self) -> int:
        """Rate of prompt waves."""
        return self.codec.input_rate_hz

    @torch.inference_mode()
    def prompt(
        self, text: str | None, wave: torch.Tensor, original: Original | None = None
    ) -> Prompt:
        """Encode a prompt once for many sentences: `wave` is (n,) at `input_rate_hz`, `original` the recording
        at its own rate, if that is another.

        Without a text the language model sees nothing of the prompt and only the voice is taken: for
        prompts in another language than the text (cli/frontend.py:191-198).
        Raises ValueError for a text or a waveform that the system cannot take.
        """
        tokens, voice = self.codec.prompt(wave, original)
        if text is None:
            return Prompt([], tokens[:0], voice)
        return Prompt(self.tokenizer.encode(self.tokenizer.whole(text)), tokens, voice)

    def synthesize(
        self,
        text: str,
        prompt_text: str | None,
        prompt_wave: torch.Tensor,
        seed: int,
        **options: Any,
    ) -> Synthesis:
        """Say `text` in the voice of the prompt.

        Args:
            text, prompt_text: what the system's tokenizer can read; no prompt text: see `prompt`.
            prompt_wave: (n,) at `input_rate_hz`, the recording of `prompt_text`.
            seed: of the sampling.
            options: of `speak_batch`: `split` and the sampling, such as `top_p`.
        """
        return self.speak(text, self.prompt(prompt_text, prompt_wave), seed, **options)

    def speak(self, text: str, prompt: Prompt, seed: int, **options: Any) -> Synthesis:
        """As `synthesize`, with a prompt that is encoded already. ValueError for what cannot be spoken."""
        (spoken,) = self.speak_batch([text], [prompt], [seed], **options)
        if spoken.error:
            raise ValueError(spoken.error)
        return spoken

    @torch.inference_mode()
    def speak_batch(
        self,
        texts: Sequence[str],
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        split: bool = True,
        **sampling: Any,
    ) -> list[Synthesis]:
        """Several sentences decoded together, each with its own prompt and seed.

        `split`: speak a long text in the pieces that the system cuts it into; without it the language
        model speaks it in one go, however long. `sampling`: options of `generate_batch`.
        A sentence's tokens do not depend on its neighbours, up to rounding, and one that fails fails alone
        (`error`). `lm_s` is the batch's time divided by its rows, so that sums and throughput stay right.
        """
        parts = [
            (row, self.tokenizer.encode(piece))
            for row, text in enumerate(texts)
            for piece in (self.tokenizer.pieces(text) if split else [self.tokenizer.whole(text)])
        ]
        results = generate_batch(
            self.lm,
            [[*prompts[row].text_ids, *ids] for row, ids in parts],
            [prompts[row].tokens for row, _ in parts],
            piece_generators([row for row, _ in parts], seeds),
            target_lengths=[len(ids) for _, ids in parts],
            **(self.sampling | sampling),
        )
        spoken: list[list[Synthesis]] = [[] for _ in texts]
        for (row, _), result in zip(parts, results, strict=True):
            start, wave = time.perf_counter(), torch.zeros(0)
            error = NOTHING_DRAWN if result.failed else None
            try:
                if not error:
                    tokens = torch.tensor(result.tokens, dtype=torch.long)
                    wave = self.codec.decode(tokens, prompts[row].voice).float().cpu()
            except ValueError as fault:
                error = str(fault)
            vocode_s = time.perf_counter() - start
            lm_s = (result.prefill_s + result.decode_s) / len(results)
            made = Synthesis(wave, result.tokens, lm_s, vocode_s, result.hit_max, error)
            spoken[row].append(made)
        return [_joined(pieces) for pieces in spoken]

    def stream(
        self, text: str | Iterable[str], prompt: Prompt, seed: int, **sampling: Any
    ) -> Iterator[torch.Tensor]:
        """Waveform chunks (n,) as soon as they can be made; together they are what `speak` says.

        A long text is spoken in the pieces that the system cuts it into. An iterable of texts is spoken while
        they come (bistream), by a model that was trained for it; its parts are tokenised one by one, blank
        ones are skipped. Options and errors as `mamtra.lm.stream`.
        """
        options = self.sampling | sampling
        if isinstance(text, str):
            pieces = self.tokenizer.pieces(text) if options.pop("split", True) else None
            parts = [self.tokenizer.encode(p) for p in pieces or [self.tokenizer.whole(text)]]
            for ids, generator in zip(
                parts, piece_generators([0] * len(parts), [seed]), strict=True
            ):
                yield from self._chunks(
                    prompt,
                    stream_tokens(
                        self.lm,
                        [*prompt.text_ids, *ids],
                        prompt.tokens,
                        generator,
                        target_length=len(ids),
                        **options,
                    ),
                )
        else:
            given = (self.tokenizer.encode(piece) for piece in text if piece.strip())
            generator = torch.Generator().manual_seed(seed)
            yield from self._chunks(
                prompt,
                stream_bistream(
                    self.lm, given, prompt.text_ids, prompt.tokens, generator, **options
                ),
            )

    def _chunks(self, prompt: Prompt, tokens: Iterable[int]) -> Iterator[torch.Tensor]:
        waves = self.codec.stream(prompt.voice)
        for token in tokens:
            if len(chunk := waves.push([token], final=False)):
                yield chunk
        if len(chunk := waves.push([], final=True)):
            yield chunk


def piece_generators(rows: Sequence[int], seeds: Sequence[int]) -> list[torch.Generator]:
    """One generator per piece; the first piece of a text has the text's own seed."""
    return [torch.Generator().manual_seed(seed) for seed in piece_seeds(rows, seeds)]


def _joined(pieces: Sequence[Synthesis]) -> Synthesis:
    """The pieces of one text, one after the other; without samples where one of them failed."""
    if len(pieces) == 1:
        return pieces[0]
    errors = [
        f"piece {n} of {len(pieces)}: {piece.error}"
        for n, piece in enumerate(pieces, 1)
        if piece.error
    ]
    return Synthesis(
        torch.zeros(0) if errors else torch.cat([piece.wave for piece in pieces]),
        [token for piece in pieces for token in piece.tokens],
        sum(piece.lm_s for piece in pieces),
        sum(piece.vocode_s for piece in pieces),
        any(piece.hit_max for piece in pieces),
        "; ".join(errors) or None,
    )
