"""Steps of decoding as CUDA graphs: one launch for a step in place of several hundred.

A graph does always the same on the same memory. So what differs between two steps lies in tensors: the tokens,
the positions and the mask over a fixed number of cached positions (`DecodeState.static_context`). A graph is
captured for every number of rows and for every BUCKET of positions, when it is first needed.

B rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mamtra.backbone.context import StepContext
from mamtra.backbone.state import DecodeState

BUCKET = 256  # positions: attention reads up to the next multiple, at most this many in vain
WARM_UP = 3  # runs before a capture, in which kernels are loaded and workspaces allocated
Step = Callable[[Tensor, Tensor, StepContext, list[Any]], Tensor]


class Replayed(Protocol):
    """What was captured, such as torch.cuda.CUDAGraph."""

    def replay(self) -> None:
        """Runs it again on the same memory."""
        ...


@dataclass(frozen=True)
class Captured:
    """A step with the memory that it reads and writes."""

    tokens: Tensor
    spoken: Tensor
    logits: Tensor
    graph: Replayed


def graphed_step(step: Step, tokens: Tensor, spoken: Tensor, state: DecodeState) -> Tensor:
    """`step` of tokens (B,) and spoken (B,) on the state, replayed -> logits (B, V+3).

    Raises ValueError when another position does not fit into the state.
    """
    room = min(-(-(state.longest + 1) // BUCKET) * BUCKET, state.max_length)
    if state.longest >= state.max_length:
        state.step_context(1)  # says it
    # A state that grows gets other memory, on which an older graph must not run.
    key = (len(tokens), room, *(tensor.data_ptr() for tensor in state.tensors()))
    captured = state.graphs.get(key)
    if captured is None:
        captured = state.graphs[key] = _captured(step, tokens, spoken, state, room)
    captured.tokens.copy_(tokens)
    captured.spoken.copy_(spoken)
    captured.graph.replay()
    state.advance(1)
    return captured.logits.clone()


def _captured(
    step: Step, tokens: Tensor, spoken: Tensor, state: DecodeState, room: int
) -> Captured:
    """The state is as before afterwards."""
    own = tokens.clone(), spoken.clone()

    def run() -> Tensor:
        return step(*own, state.static_context(room), state.layers)

    before = [(tensor, tensor.clone()) for layer in state.layers for tensor in layer.moving()]
    graph, logits = capture(run)
    for tensor, value in before:
        tensor.copy_(value)
    return Captured(*own, logits, graph)


def capture(run: Callable[[], Tensor]) -> tuple[Replayed, Tensor]:
    """What `run` launches as a graph, and where its result will lie. `run` happens WARM_UP times."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = run()
    return graph, result
