"""Our models as systems to time: the engine with as many rows as the batch, all of equal length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from eval.efficiency.bandwidth import step_bytes
from mamtra.lm.engine import UNIFORMS_AHEAD, Engine
from mamtra.lm.rows import Sentence, Snapshot
from mamtra.lm.sampling import Sampling
from mamtra.lm.sequence import KIND_SPEECH
from mamtra.lm.speech_lm import SpeechLM
from mamtra.speech.base import SpeechCodec

SPECIAL = 2  # positions of sos and task


def made_up_text(lm: SpeechLM, context: int, seed: int) -> tuple[list[int], list[int]]:
    """Random text and prompt speech that together with the special tokens are `context` positions: a fifth of
    them text, as in Seed-TTS-eval."""
    generator = torch.Generator().manual_seed(context + (seed << 20))
    n_text = max(context // 5, 1)
    text = torch.randint(lm.text_vocab, (n_text,), generator=generator).tolist()
    n_speech = context - n_text - SPECIAL
    speech = torch.randint(lm.speech_vocab, (n_speech,), generator=generator).tolist()
    return text, speech


class TimedModel:
    """One of our models, what it says (noise decoded from random text), and its codec's share.

    prefill: read the context; without it the caches start full of noise, as the time of a step does not depend
    on what it reads. codec: None times the language model alone. Batches are decoded, never vocoded, together.
    """

    def __init__(self, lm: SpeechLM, codec: SpeechCodec | None = None, prefill: bool = True):
        self.lm, self.codec, self.prefill = lm, codec, prefill
        self.weight_bytes = sum(p.nbytes for p in lm.parameters())
        self.token_rate_hz = codec.token_rate_hz if codec else None
        if codec:
            generator = torch.Generator().manual_seed(0)
            self.voice = codec.voice(0.1 * torch.randn(codec.input_rate_hz, generator=generator))

    def speak(self, context: int, n_tokens: int, batch: int) -> Iterator[list[int]]:
        engine = Engine(
            self.lm, Sampling(), capacity=batch, max_length=context + n_tokens + SPECIAL
        )
        if self.prefill:
            engine.add([self._sentence(context, n_tokens, seed) for seed in range(batch)])
        else:
            kept = self._halfway(context)
            for seed in range(batch):
                row = self._sentence(SPECIAL + 1, n_tokens, seed)
                row.ids, row.kinds = [0], [KIND_SPEECH]
                engine.restore(replace(kept, row=row))
        while drawn := engine.draw():
            yield [token for _, token in drawn]

    def _sentence(self, context: int, n_tokens: int, seed: int) -> Sentence:
        text, prompt = made_up_text(self.lm, context, seed)
        generator = torch.Generator().manual_seed(seed)
        # Equal limits: as many tokens whatever a model would rather do.
        return Sentence(text, prompt, generator, (n_tokens, n_tokens), self.lm.speech_vocab)

    def _halfway(self, context: int) -> Snapshot:
        """A row that has come to `context` positions, with noise in its state."""
        state = self.lm.new_state(1, context, conditioning=context)
        for layer in state.slots:
            layer.fill_with_noise()
        state.positions.fill_(context)
        state.lengths = [context]
        device, window = self.lm.device, Sampling.window
        return Snapshot(
            self.lm.fingerprint(),
            self._sentence(SPECIAL + 1, 1, 0),
            state,
            torch.rand(UNIFORMS_AHEAD, 2, dtype=torch.float64, device=device),
            0,
            torch.full((window,), -1, device=device),
            torch.tensor(context, device=device),
        )

    def vocode(self, tokens: Sequence[int]) -> float | None:
        if self.codec is None:
            return None
        with torch.inference_mode():
            wave = self.codec.decode(torch.tensor(tokens), self.voice).cpu()
        return len(wave) / self.codec.sample_rate_hz

    def state_bytes(self, context: int, batch: int) -> int:
        return self.lm.new_state(batch, context, "meta", conditioning=context).num_bytes()

    def step_bytes(self, context: int, batch: int) -> int:
        return step_bytes(self.lm, context, batch)
