"""Decode state: one entry per layer plus the position of every row.

B batch, S states of a layer, G key/value heads, E head_dim, L max_length, W d_conv, C convolved channels.

`num_bytes` counts every tensor that a state holds, as the allocator gave it. Rows come and go: the live ones
lie in front, `resize` says how many they are and `take_row` copies one row over another.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mamtra.backbone.context import StepContext
from mamtra.backbone.elementwise import over_heads
from mamtra.backbone.sizes import BackboneSizes


@dataclass
class AttentionState:
    """Static key/value cache, written in place. Row b holds its tokens in slots 0..offset[b]-1."""

    keys: Tensor  # (B, G, L, E)
    values: Tensor  # (B, G, L, E)

    def num_bytes(self) -> int:
        """Bytes held, independent of how many slots are filled."""
        return sum(tensor.nbytes for tensor in self.tensors())

    def step_bytes(self) -> int:
        """Bytes that a step moves when all slots are filled: each is read."""
        return self.num_bytes()

    def tensors(self) -> list[Tensor]:
        """All that it holds."""
        return [self.keys, self.values]

    def moving(self) -> list[Tensor]:
        """What a step changes beyond the slot of its own position."""
        return []

    def geometry(self) -> tuple[Any, ...]:
        """What states have to share for a row to fit from one into the other."""
        return AttentionState, self.keys.shape[1], self.keys.shape[3]

    def fill_with_noise(self) -> None:
        """Fills all slots, for measurements of time."""
        self.keys.normal_()
        self.values.normal_()

    def first_rows(self, n: int) -> "AttentionState":
        """A view of the first n rows."""
        return AttentionState(self.keys[:n], self.values[:n])

    def copy_row(self, row: int, used: int) -> "AttentionState":
        """One row, with room for its first `used` slots alone."""
        held = (self.keys, self.values)
        return AttentionState(*(t[row : row + 1, :, :used].clone() for t in held))

    def take_row(self, row: int, other: "AttentionState", source: int, used: int) -> None:
        """Copies the first `used` slots of another state's row `source` over row `row`."""
        self.keys[row, :, :used] = other.keys[source, :, :used]
        self.values[row, :, :used] = other.values[source, :, :used]


@dataclass
class MambaState:
    """Constant-size state of a Mamba-2 or DeltaNet layer."""

    conv: Tensor  # (B, W-1, C) last inputs of the convolution, before its activation
    ssm: (
        Tensor  # (B, S, E, E) in `BackboneSizes.state_dtype`, state dimension before head dimension
    )

    def num_bytes(self) -> int:
        """Bytes held."""
        return sum(tensor.nbytes for tensor in self.tensors())

    def step_bytes(self) -> int:
        """Bytes that a step moves: the state is read and written."""
        return 2 * self.num_bytes()

    def tensors(self) -> list[Tensor]:
        """All that it holds."""
        return [self.conv, self.ssm]

    def moving(self) -> list[Tensor]:
        """What a step changes beyond the slot of its own position."""
        return self.tensors()

    def geometry(self) -> tuple[Any, ...]:
        """What states have to share for a row to fit from one into the other."""
        return MambaState, self.conv.shape[1:], self.ssm.shape[1:], self.ssm.dtype

    def fill_with_noise(self) -> None:
        """Fills the state, for measurements of time."""
        self.conv.normal_()
        self.ssm.normal_()

    def first_rows(self, n: int) -> "MambaState":
        """A view of the first n rows."""
        return MambaState(self.conv[:n], self.ssm[:n])

    def copy_row(self, row: int, used: int) -> "MambaState":
        """One row; `used` changes nothing here."""
        return MambaState(self.conv[row : row + 1].clone(), self.ssm[row : row + 1].clone())

    def take_row(self, row: int, other: "MambaState", source: int, used: int) -> None:
        """Copies another state's row `source` over row `row`; `used` changes nothing here."""
        self.conv[row] = other.conv[source]
        self.ssm[row] = other.ssm[source]


def recurrent_state(sizes: BackboneSizes, batch: int, n: int, device: torch.device) -> Tensor:
    """Zeros (batch, n, E, E) in the dtype that the sizes say."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[sizes.state_dtype]
    return torch.zeros(batch, n, sizes.head_dim, sizes.head_dim, dtype=dtype, device=device)


@dataclass
class DecodeState:
    """State of a whole stack with room for S rows, the first B of which are live.

    `lengths` counts the valid tokens that each live row has consumed; `offsets` (B,) int64 are the same numbers
    on the device, so that a step never has to read a tensor back. One rotary table serves all layers and heads.
    """

    slots: list[Any]  # the states of `mixers.Mixer`, S rows each
    positions: Tensor  # (S,) int64
    lengths: list[int]
    max_length: int
    cos: Tensor  # (L, E/2) fp32
    sin: Tensor  # (L, E/2) fp32
    n_rotated: int  # heads that a step rotates: those of the queries and of the keys
    layers: list[Any] = field(init=False)  # the live rows of `slots`
    offsets: Tensor = field(init=False)
    graphs: dict[Any, Any] = field(init=False, default_factory=dict)  # of `mamtra.lm.graphs`

    def __post_init__(self) -> None:
        self.resize(len(self.lengths))

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(self.lengths)

    @property
    def uniform(self) -> bool:
        """Whether all rows are equally long."""
        return min(self.lengths) == max(self.lengths)

    def num_bytes(self) -> int:
        """Bytes held: all layers, the positions and the rotary table."""
        own = self.positions.nbytes + self.cos.nbytes + self.sin.nbytes
        return own + sum(layer.num_bytes() for layer in self.slots)

    def step_bytes(self) -> int:
        """Bytes that a step of one token for every row moves when all rows are full."""
        return sum(layer.step_bytes() for layer in self.slots)

    def step_context(self, new: int) -> StepContext:
        """Context for `new` more tokens per row. ValueError when they do not fit in the cache."""
        longest = self.longest
        used = longest + new
        if used > self.max_length:
            raise ValueError(
                f"{used} positions do not fit in a state made for max_length={self.max_length}"
            )
        device = self.offsets.device
        if self.uniform:
            span = slice(longest, used)
            mask = None
            if new > 1:
                mask = torch.ones(new, used, dtype=torch.bool, device=device)
                mask = mask.tril(longest)[None, None]
            cos, sin = over_heads(self.cos[span], self.sin[span], self.n_rotated)
            return StepContext(cos, sin, longest, None, used, mask)
        return self._by_slot(new, used)

    def static_context(self, room: int) -> StepContext:
        """`step_context` of one more token, whose shapes and numbers do not depend on how long the rows are:
        the first `room` cached positions are looked at, which must hold the new ones."""
        return self._by_slot(1, room)

    def _by_slot(self, new: int, used: int) -> StepContext:
        device = self.offsets.device
        slots = self.offsets[:, None] + torch.arange(new, device=device)
        visible = torch.arange(used, device=device) <= slots[:, :, None]
        cos, sin = over_heads(self.cos[slots], self.sin[slots], self.n_rotated)
        return StepContext(cos, sin, None, slots, used, visible[:, None])

    def tensors(self) -> list[Tensor]:
        """All that the layers hold."""
        return [tensor for layer in self.layers for tensor in layer.tensors()]

    def advance(self, new: int) -> None:
        """Move every row forward by `new` tokens."""
        self.offsets += new
        self.lengths = [length + new for length in self.lengths]

    def resize(self, n: int) -> None:
        """Makes the first n rows the live ones. What new ones hold, `take_row` has to say."""
        self.layers = [layer.first_rows(n) for layer in self.slots]
        self.offsets = self.positions[:n]
        self.lengths = [*self.lengths, *[0] * n][:n]

    def copy_row(self, row: int) -> "DecodeState":
        """A state of one row to take from: it has no room for more tokens, and no rotary table."""
        used = self.lengths[row]
        layers = [layer.copy_row(row, used) for layer in self.slots]
        positions, table = self.positions[row : row + 1].clone(), self.cos[:0].clone()
        return DecodeState(layers, positions, [used], used, table, table, self.n_rotated)

    def take_row(self, row: int, other: "DecodeState", source: int) -> None:
        """Copies another state's row `source` over row `row`, which may be a new one.

        Raises ValueError when it does not fit, and for a state of another model.
        """
        used = other.lengths[source]
        if used > self.max_length:
            raise ValueError(f"a row of {used} positions does not fit in {self.max_length}")
        pairs = (self.slots, other.slots)
        mine, theirs = ([layer.geometry() for layer in layers] for layers in pairs)
        if mine != theirs:
            raise ValueError("the row is of a model with other layers or sizes")
        for layer, from_layer in zip(*pairs, strict=True):
            layer.take_row(row, from_layer, source, used)
        self.positions[row] = used
        self.lengths[row] = used
