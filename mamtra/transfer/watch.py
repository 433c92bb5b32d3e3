"""Listens to the mixers of a model during a forward pass.

B batch, T time, D d_model, H heads, E head_dim.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mamtra.backbone.context import SequenceContext
from mamtra.lm.speech_lm import SpeechLM


@dataclass
class Seen:
    """What one mixer saw and made of it: input x (B, T, D), heads before out_proj (B, T, H * E),
    output (B, T, D)."""

    x: Tensor
    context: SequenceContext
    heads: Tensor
    output: Tensor


@contextmanager
def watch_mixers(model: SpeechLM) -> Iterator[dict[int, Seen]]:
    """Yields a dictionary that every forward pass fills with what each layer's mixer did."""
    seen: dict[int, Seen] = {}
    with on_mixers(model, seen.__setitem__):
        yield seen


@contextmanager
def on_mixers(model: SpeechLM, told: Callable[[int, Seen], object]) -> Iterator[None]:
    """Calls `told` with the layer and what its mixer did, as soon as it has: nothing is kept here."""
    heads: dict[int, Tensor] = {}
    handles = []
    layers: list[Any] = list(model.backbone.layers)
    for i, layer in enumerate(layers):

        def before_out(_module: nn.Module, args: tuple[Tensor, ...], i: int = i) -> None:
            heads[i] = args[0]

        def leave(_module: nn.Module, args: tuple, output: Tensor, i: int = i) -> None:
            x, context = args
            told(i, Seen(x, context, heads.pop(i), output))

        handles.append(layer.mixer.out_proj.register_forward_pre_hook(before_out))
        handles.append(layer.mixer.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
