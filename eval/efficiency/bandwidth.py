"""The memory that a step has to move, and how fast the machine moves memory: the limit of decoding.

One new token reads every weight once, whatever the batch, and the state of every row. A machine that does
nothing else cannot be faster than bytes / bandwidth.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from mamtra.lm.speech_lm import SpeechLM

BUFFER_BYTES = 256 * 2**20  # many times a processor's last cache
ROUNDS = 5


def memory_bandwidth(device: str, buffer_bytes: int = BUFFER_BYTES) -> float:
    """Bytes per second that this process moves on `device` with torch's threads: the best of a sum (reads) and
    a copy (reads and writes), which is what kernels of matrices and vectors can reach."""
    source = torch.ones(buffer_bytes // 4, device=device)
    target = torch.empty_like(source)

    def seconds(run: Callable[[], object]) -> float:
        run()
        taken = []
        for _ in range(ROUNDS):
            _wait(device)
            start = time.perf_counter()
            run()
            _wait(device)
            taken.append(time.perf_counter() - start)
        return min(taken)

    read = source.nbytes / seconds(source.sum)
    return max(read, 2 * source.nbytes / seconds(lambda: target.copy_(source)))


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def weight_step_bytes(lm: SpeechLM) -> int:
    """Bytes of weights that a step of speech tokens reads: all but the tables, of which it takes a row each."""
    tables = (lm.text_embedding, lm.llm_embedding, lm.speech_embedding)
    return sum(p.nbytes for p in lm.parameters()) - sum(table.weight.nbytes for table in tables)


def step_bytes(lm: SpeechLM, context: int, batch: int) -> int:
    """Bytes that a step of `batch` rows of `context` positions moves."""
    state = lm.new_state(batch, context, "meta", conditioning=context)
    return weight_step_bytes(lm) + state.step_bytes()
