"""Speed and memory of models: in every round each model has its turn at each context length.

Absolute times hold for one machine at one time; ratios between systems of one run are what can be compared.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

import torch

from mamtra.lm.stream import stream_tokens
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

    def speak(self, context: int, n_tokens: int) -> Iterator[int]:
        """`n_tokens` new tokens after `context` positions, each when it is there."""
        ...

    def vocode(self, tokens: Sequence[int]) -> float:
        """Makes a waveform of tokens; its length in seconds."""
        ...

    def state_bytes(self, context: int) -> int: ...


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

    def speak(self, context: int, n_tokens: int) -> Iterator[int]:
        generator = torch.Generator().manual_seed(context)
        n_text = max(context // 5, 1)
        text = torch.randint(self.lm.text_vocab, (n_text,), generator=generator).tolist()
        spoken = context - n_text - SPECIAL
        prompt = torch.randint(self.lm.speech_vocab, (spoken,), generator=generator).tolist()
        # Equal limits: as many tokens whatever a model would rather do.
        limits = {"target_length": n_tokens, "min_ratio": 1.0, "max_ratio": 1.0}
        return stream_tokens(self.lm, text, prompt, generator, **limits, **self.sampling)

    def vocode(self, tokens: Sequence[int]) -> float:
        with torch.inference_mode():
            wave = self.codec.decode(torch.tensor(tokens), self.voice).cpu()
        return len(wave) / self.codec.sample_rate_hz

    def state_bytes(self, context: int) -> int:
        dtype = next(self.lm.parameters()).dtype
        return self.lm.backbone.new_state(1, context, dtype).num_bytes()


@dataclass(frozen=True)
class _Round:
    n_tokens: int
    first_s: float
    lm_s: float  # all tokens, the first too
    tokens_per_s: float
    vocode_s: float
    audio_s: float


def measure(
    systems: Mapping[str, Timed],
    *,
    contexts: Sequence[int],
    n_tokens: int,
    rounds: int,
    device: str = "cpu",
    advance: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Measured]:
    """One row per context and system. In every round each system has its turn; a round before them warms up."""
    found = []
    for context in contexts:
        taken: dict[str, list[_Round]] = {name: [] for name in systems}
        for number in range(rounds + 1):
            for name, system in systems.items():
                one = _round(system, context, n_tokens, clock)
                if number:
                    taken[name].append(one)
                advance()
        # Not while times are taken: an emptied allocator is a slow one.
        peaks = {name: _peak(system, context, n_tokens, device) for name, system in systems.items()}
        for name, system in systems.items():
            found.append(_summary(name, context, system, taken[name], peaks[name]))
    return found


def _round(system: Timed, context: int, n_tokens: int, clock: Callable[[], float]) -> _Round:
    start = clock()
    tokens = system.speak(context, n_tokens)
    drawn = [next(tokens)]  # a Python integer: the device has finished
    first = clock()
    drawn += tokens
    last = clock()
    if len(drawn) != n_tokens:
        raise RuntimeError(f"{len(drawn)} tokens came instead of {n_tokens}")
    audio_s = system.vocode(drawn)
    rate = (n_tokens - 1) / (last - first)
    return _Round(n_tokens, first - start, last - start, rate, clock() - last, audio_s)


def _peak(system: Timed, context: int, n_tokens: int, device: str) -> tuple[int | None, int | None]:
    """The most that was allocated and reserved on a GPU in one round, less what lay there before."""
    if not device.startswith("cuda"):
        return None, None
    gc.collect()
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    _round(system, context, n_tokens, time.perf_counter)
    torch.cuda.synchronize(device)
    return (
        torch.cuda.max_memory_allocated(device) - allocated,
        torch.cuda.max_memory_reserved(device) - reserved,
    )


def _summary(
    name: str,
    context: int,
    system: Timed,
    taken: Sequence[_Round],
    peak: tuple[int | None, int | None],
) -> Measured:
    rates = [one.tokens_per_s for one in taken]
    spoken_s = [one.n_tokens / system.token_rate_hz for one in taken]
    return Measured(
        system=name,
        context=context,
        first_token_s=median(one.first_s for one in taken),
        tokens_per_s=median(rates),
        tokens_per_s_low=min(rates),
        tokens_per_s_high=max(rates),
        lm_rtf=median(one.lm_s / s for one, s in zip(taken, spoken_s, strict=True)),
        codec_rtf=median(one.vocode_s / one.audio_s for one in taken),
        state_bytes=system.state_bytes(context),
        weight_bytes=system.weight_bytes,
        peak_allocated_bytes=peak[0],
        peak_reserved_bytes=peak[1],
    )
