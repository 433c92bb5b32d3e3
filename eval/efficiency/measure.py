"""Speed and memory of models: in every round each model has its turn at each context length.

Absolute times hold for one machine at one time; ratios between systems of one run are what can be compared.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

import torch

from mamtra.lm.engine import Engine, Sentence
from mamtra.lm.sampling import Sampling
from mamtra.tts import Synthesizer

SPECIAL = 2  # positions of sos and task


@dataclass(frozen=True)
class Measured:
    """Medians over the rounds, and the range of the rate. RTF: seconds of work per second of speech.

    `lm_rtf` holds the reading of the context, too. Peaks are those of a round of their own, on GPUs only: what
    lay there beyond the models before it.
    """

    system: str
    context: int  # positions before the first new token
    batch: int
    first_token_s: float
    tokens_per_s: float
    tokens_per_s_low: float
    tokens_per_s_high: float
    lm_rtf: float
    codec_rtf: float
    state_bytes: int  # all that decoding holds for `context` positions
    weight_bytes: int  # of the language model
    peak_allocated_bytes: int | None
    peak_reserved_bytes: int | None


class Timed(Protocol):
    """What is measured of one system."""

    token_rate_hz: float
    weight_bytes: int

    def speak(self, context: int, n_tokens: int, batch: int) -> Iterator[list[int]]:
        """`n_tokens` times a new token for each of `batch` rows of `context` positions."""
        ...

    def vocode(self, tokens: Sequence[int]) -> float:
        """Makes a waveform of tokens; its length in seconds."""
        ...

    def state_bytes(self, context: int, batch: int) -> int: ...


class TimedModel:
    """A synthesiser that continues random text and speech. The codec's voice is that of one second of noise."""

    def __init__(self, synthesizer: Synthesizer) -> None:
        self.lm, self.codec = synthesizer.lm, synthesizer.codec
        self.sampling = {
            name: value
            for name, value in synthesizer.sampling.items()
            if name not in ("min_ratio", "max_ratio")
        }
        self.token_rate_hz = self.codec.token_rate_hz
        tensors = [*self.lm.parameters(), *self.lm.buffers()]
        self.weight_bytes = sum(tensor.nbytes for tensor in tensors)
        noise = torch.randn(synthesizer.input_rate_hz, generator=torch.Generator().manual_seed(0))
        self.voice = self.codec.voice(0.1 * noise)

    def speak(self, context: int, n_tokens: int, batch: int) -> Iterator[list[int]]:
        rows = [self._sentence(context, n_tokens, seed) for seed in range(batch)]
        engine = Engine(
            self.lm,
            Sampling(**self.sampling),
            capacity=batch,
            max_length=max(row.max_length for row in rows),
        )
        engine.add(rows)
        while drawn := engine.draw():
            yield [token for _, token in drawn]

    def _sentence(self, context: int, n_tokens: int, seed: int) -> Sentence:
        generator = torch.Generator().manual_seed(context + (seed << 20))
        n_text = max(context // 5, 1)
        text = torch.randint(self.lm.text_vocab, (n_text,), generator=generator).tolist()
        spoken = context - n_text - SPECIAL
        prompt = torch.randint(self.lm.speech_vocab, (spoken,), generator=generator).tolist()
        # Equal limits: as many tokens whatever a model would rather do.
        return Sentence(text, prompt, generator, (n_tokens, n_tokens), self.lm.speech_vocab)

    def vocode(self, tokens: Sequence[int]) -> float:
        with torch.inference_mode():
            wave = self.codec.decode(torch.tensor(tokens), self.voice).cpu()
        return len(wave) / self.codec.sample_rate_hz

    def state_bytes(self, context: int, batch: int) -> int:
        return self.lm.new_state(batch, context).num_bytes()


@dataclass(frozen=True)
class _Round:
    n_tokens: int  # of one row
    first_s: float
    lm_s: float  # all tokens, the first too
    tokens_per_s: float
    vocode_s: float
    audio_s: float


def measure(
    systems: Mapping[str, Timed],
    *,
    contexts: Sequence[int],
    batches: Sequence[int] = (1,),
    n_tokens: int,
    rounds: int,
    device: str = "cpu",
    advance: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Measured]:
    """One row per context, batch and system. In every round each system has its turn; a round before them
    warms up."""
    found = []
    for context, batch in itertools.product(contexts, batches):
        taken: dict[str, list[_Round]] = {name: [] for name in systems}
        for number in range(rounds + 1):
            for name, system in systems.items():
                one = _round(system, context, n_tokens, batch, clock)
                if number:
                    taken[name].append(one)
                advance()
        # Not while times are taken: an emptied allocator is a slow one.
        for name, system in systems.items():
            peak = _peak(system, context, n_tokens, batch, device)
            found.append(_summary(name, context, batch, system, taken[name], peak))
    return found


def _round(
    system: Timed, context: int, n_tokens: int, batch: int, clock: Callable[[], float]
) -> _Round:
    start = clock()
    steps = system.speak(context, n_tokens, batch)
    drawn = [next(steps)]  # Python integers: the device has finished
    first = clock()
    drawn += steps
    last = clock()
    if len(drawn) != n_tokens or any(len(step) != batch for step in drawn):
        raise RuntimeError(
            f"{sum(map(len, drawn))} tokens came instead of {n_tokens} for each of {batch} rows"
        )
    audio_s = system.vocode([step[0] for step in drawn])
    rate = batch * (n_tokens - 1) / (last - first)
    return _Round(n_tokens, first - start, last - start, rate, clock() - last, audio_s)


def _peak(
    system: Timed, context: int, n_tokens: int, batch: int, device: str
) -> tuple[int | None, int | None]:
    """The most that was allocated and reserved on a GPU in one round, less what lay there before."""
    if not device.startswith("cuda"):
        return None, None
    gc.collect()
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    _round(system, context, n_tokens, batch, time.perf_counter)
    torch.cuda.synchronize(device)
    return (
        torch.cuda.max_memory_allocated(device) - allocated,
        torch.cuda.max_memory_reserved(device) - reserved,
    )


def _summary(
    name: str,
    context: int,
    batch: int,
    system: Timed,
    taken: Sequence[_Round],
    peak: tuple[int | None, int | None],
) -> Measured:
    rates = [one.tokens_per_s for one in taken]
    spoken_s = [batch * one.n_tokens / system.token_rate_hz for one in taken]
    return Measured(
        system=name,
        context=context,
        batch=batch,
        first_token_s=median(one.first_s for one in taken),
        tokens_per_s=median(rates),
        tokens_per_s_low=min(rates),
        tokens_per_s_high=max(rates),
        lm_rtf=median(one.lm_s / s for one, s in zip(taken, spoken_s, strict=True)),
        codec_rtf=median(one.vocode_s / one.audio_s for one in taken),
        state_bytes=system.state_bytes(context, batch),
        weight_bytes=system.weight_bytes,
        peak_allocated_bytes=peak[0],
        peak_reserved_bytes=peak[1],
    )
