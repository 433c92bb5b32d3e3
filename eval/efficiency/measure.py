"""Speed and memory of systems: in every round each has its turn at each context length and batch.

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

from eval.store.files import InputError


@dataclass(frozen=True)
class Measured:
    """Medians over the rounds, and the range of the rate. RTF: seconds of work per second of speech.

    `lm_rtf` holds the reading of the context, too, where the context is read. Without reading there is no time
    to the first token, without a codec no RTF. `limit_tokens_per_s`: what a machine would reach that does
    nothing but move `step_bytes` for every step. Peaks are those of a round of their own, on GPUs only: what
    lay there beyond the models before it.
    """

    system: str
    context: int  # positions before the first new token
    batch: int
    first_token_s: float | None
    tokens_per_s: float
    tokens_per_s_low: float
    tokens_per_s_high: float
    limit_tokens_per_s: float | None
    lm_rtf: float | None
    codec_rtf: float | None
    state_bytes: int  # all that decoding holds for `context` positions
    step_bytes: int  # weights and states that a step of the whole batch moves
    weight_bytes: int  # of the language model
    peak_allocated_bytes: int | None
    peak_reserved_bytes: int | None


class Timed(Protocol):
    """What is measured of one system."""

    prefill: bool  # whether the context is read; otherwise the caches start full
    token_rate_hz: float | None
    weight_bytes: int

    def speak(self, context: int, n_tokens: int, batch: int) -> Iterator[list[int]]:
        """`n_tokens` times a new token for each of `batch` rows of `context` positions."""
        ...

    def vocode(self, tokens: Sequence[int]) -> float | None:
        """Makes a waveform of tokens; its length in seconds. None without a codec."""
        ...

    def state_bytes(self, context: int, batch: int) -> int: ...

    def step_bytes(self, context: int, batch: int) -> int: ...


@dataclass(frozen=True)
class _Round:
    n_tokens: int  # of one row
    first_s: float
    lm_s: float  # all tokens, the first too
    tokens_per_s: float
    vocode_s: float
    audio_s: float | None


def measure(
    systems: Mapping[str, Timed],
    *,
    contexts: Sequence[int],
    batches: Sequence[int] = (1,),
    n_tokens: int,
    rounds: int,
    device: str = "cpu",
    bandwidth: float | None = None,
    advance: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Measured]:
    """One row per context, batch and system. In every round each system has its turn; a round before them
    warms up.

    bandwidth: bytes per second that the device moves, for the limit. Raises InputError, naming the batch that
    fits, when memory does not suffice.
    """
    found = []
    for context, batch in itertools.product(contexts, batches):
        taken: dict[str, list[_Round]] = {name: [] for name in systems}
        for number in range(rounds + 1):
            for name, system in systems.items():
                try:
                    one = _round(system, context, n_tokens, batch, clock)
                except torch.OutOfMemoryError:
                    fits = _largest_batch(system, context, n_tokens, batch)
                    raise InputError(
                        f"{name}: a batch of {batch} at {context} positions does not fit in the memory of "
                        f"{device}; "
                        + (f"{fits} fits" if fits else "a single sentence does not, either")
                    ) from None
                if number:
                    taken[name].append(one)
                advance()
        # Not while times are taken: an emptied allocator is a slow one.
        for name, system in systems.items():
            peak = _peak(system, context, n_tokens, batch, device)
            found.append(_summary(name, context, batch, system, taken[name], peak, bandwidth))
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


def _largest_batch(system: Timed, context: int, n_tokens: int, batch: int) -> int:
    """The largest half, quarter, ... of a batch that fits; 0 when none does."""
    while batch := batch // 2:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            _round(system, context, n_tokens, batch, time.perf_counter)
        except torch.OutOfMemoryError:
            continue
        return batch
    return 0


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
    bandwidth: float | None,
) -> Measured:
    rates = [one.tokens_per_s for one in taken]
    step_bytes, hz = system.step_bytes(context, batch), system.token_rate_hz
    vocoded = [one.vocode_s / one.audio_s for one in taken if one.audio_s]
    return Measured(
        system=name,
        context=context,
        batch=batch,
        first_token_s=median(one.first_s for one in taken) if system.prefill else None,
        tokens_per_s=median(rates),
        tokens_per_s_low=min(rates),
        tokens_per_s_high=max(rates),
        limit_tokens_per_s=batch * bandwidth / step_bytes if bandwidth else None,
        lm_rtf=median(one.lm_s * hz / (batch * one.n_tokens) for one in taken) if hz else None,
        codec_rtf=median(vocoded) if vocoded else None,
        state_bytes=system.state_bytes(context, batch),
        step_bytes=step_bytes,
        weight_bytes=system.weight_bytes,
        peak_allocated_bytes=peak[0],
        peak_reserved_bytes=peak[1],
    )
