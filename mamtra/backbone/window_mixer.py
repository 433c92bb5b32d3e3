"""Attention that lets go of what it generated: conditioning stays in sight, generated speech does not.

WAND (arXiv 2604.08558): p(y_t | y_<t, c) is taken as p(y_t | y_{t-W}..y_{t-1}, c) with the conditioning c of
text and prompt speech. The weights are attention's own, and so are their names; only the mask is another.

B batch, T time, K new tokens, D d_model, H query heads, G key/value heads, E head_dim, W window,
C conditioning tokens of the longest row, S rows that a state has room for.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mamtra.backbone.attention import causal_attention
from mamtra.backbone.attention_mixer import AttentionMixer, without_left_padding
from mamtra.backbone.context import SequenceContext, StepContext


@dataclass
class WindowSlots:
    """What a state holds: a ring of the last W generated tokens in slots 0..W-1, conditioning behind it.

    Generated token number n of a row (from 1) lies in slot (n - 1) mod W.
    """

    keys: Tensor  # (S, G, W + C, E)
    values: Tensor  # (S, G, W + C, E)
    filled: Tensor  # (S, W + C) bool
    made: Tensor  # (S,) int64 generated tokens so far

    def reserve(self, slots: int) -> None:
        """Makes room for as many slots in all."""
        missing = slots - self.filled.shape[1]
        if missing <= 0:
            return
        grow = torch.nn.functional.pad
        self.keys = grow(self.keys, (0, 0, 0, missing))
        self.values = grow(self.values, (0, 0, 0, missing))
        self.filled = grow(self.filled, (0, missing))


@dataclass
class WindowState:
    """The first `rows` rows of `slots`: its size follows the conditioning, not the generated speech."""

    slots: WindowSlots
    window: int
    rows: int

    def num_bytes(self) -> int:
        """Bytes held."""
        slots = self.slots
        return sum(t.nbytes for t in (slots.keys, slots.values, slots.filled, slots.made))

    def step_bytes(self) -> int:
        """Bytes that a step moves when all slots are filled: each is read."""
        return self.num_bytes()

    def tensors(self) -> list[Tensor]:
        """All that it holds."""
        return [self.slots.keys, self.slots.values, self.slots.filled, self.slots.made]

    def moving(self) -> list[Tensor]:
        """What a step changes beyond the slot of its own position: its ring goes round."""
        return self.tensors()

    def geometry(self) -> tuple[Any, ...]:
        """What states have to share for a row to fit from one into the other."""
        return WindowState, self.window, self.slots.keys.shape[1], self.slots.keys.shape[3]

    def fill_with_noise(self) -> None:
        """Fills all slots, for measurements of time."""
        self.slots.keys.normal_()
        self.slots.values.normal_()
        self.slots.filled.fill_(True)
        self.slots.made.fill_(self.window)

    def first_rows(self, n: int) -> "WindowState":
        """The first n rows of the same slots."""
        return WindowState(self.slots, self.window, n)

    def copy_row(self, row: int, used: int) -> "WindowState":
        """One row, with room for its own conditioning alone; `used` changes nothing here."""
        slots, one = self.slots, slice(row, row + 1)
        width = self.window + int(slots.filled[row, self.window :].sum())
        held = (slots.keys[one, :, :width], slots.values[one, :, :width], slots.filled[one, :width])
        copied = [t.clone() for t in (*held, slots.made[one])]
        return WindowState(WindowSlots(*copied), self.window, 1)

    def take_row(self, row: int, other: "WindowState", source: int, used: int) -> None:
        """Copies another state's row `source` over row `row`; `used` changes nothing here."""
        theirs = other.slots
        width = theirs.filled.shape[1]
        self.slots.reserve(width)
        self.slots.keys[row, :, :width] = theirs.keys[source]
        self.slots.values[row, :, :width] = theirs.values[source]
        self.slots.filled[row, :width] = theirs.filled[source]
        self.slots.filled[row, width:] = False
        self.slots.made[row] = theirs.made[source]


class WindowMixer(AttentionMixer):
    """Causal grouped-query attention over the conditioning and the last `sizes.window` generated tokens."""

    def visible(self, context: SequenceContext) -> Tensor | None:
        """(B, 1, T, T) bool. Raises ValueError when the context does not say what was generated."""
        return context.window_mask

    def new_state(
        self,
        batch: int,
        max_length: int,
        dtype: torch.dtype,
        device: torch.device,
        conditioning: int = 0,
    ) -> WindowState:  # type: ignore[override]
        """Empty state with room for `conditioning` tokens of each row, and more when more come."""
        sizes, width = self.sizes, self.sizes.window + conditioning
        keys = torch.zeros(
            batch, sizes.n_kv_heads, width, sizes.head_dim, dtype=dtype, device=device
        )
        filled = torch.zeros(batch, width, dtype=torch.bool, device=device)
        made = torch.zeros(batch, dtype=torch.int64, device=device)
        slots = WindowSlots(keys, torch.zeros_like(keys), filled, made)
        return WindowState(slots, sizes.window, batch)

    def prefill(self, x: Tensor, context: SequenceContext, state: WindowState) -> Tensor:  # type: ignore[override]
        """Full attention: everything is conditioning. Fills `state` with each row's valid tokens."""
        q, k, v = self._project(x, context)
        place = slice(state.window, state.window + x.shape[1])
        slots, rows = state.slots, slice(0, state.rows)
        slots.reserve(place.stop)
        slots.keys[rows, :, place] = without_left_padding(k, context).transpose(1, 2)
        slots.values[rows, :, place] = without_left_padding(v, context).transpose(1, 2)
        filled = torch.arange(x.shape[1], device=x.device)[None] < (
            x.shape[1] if context.lengths is None else context.lengths[:, None]
        )
        slots.filled[rows, place] = filled
        return self.out_proj(causal_attention(q, k, v, context.attention_mask))

    def step(self, x: Tensor, context: StepContext, state: WindowState) -> Tensor:  # type: ignore[override]
        """x (B, K, D) -> (B, K, D): K new tokens per row, generated ones where `context.local` says so."""
        q, k, v = self._project(x, context)
        if x.shape[1] > 1 or context.local is not None:
            return self._step_many(q, k, v, context, state)
        slots, row = state.slots, torch.arange(state.rows, device=x.device)
        made = slots.made[: state.rows]
        at = made % state.window
        slots.keys[row, :, at] = k[:, 0].to(slots.keys.dtype)
        slots.values[row, :, at] = v[:, 0].to(slots.values.dtype)
        slots.filled[row, at] = True
        made += 1
        mask = slots.filled[: state.rows, None, None]
        return self._attend(q, slots.keys[: state.rows], slots.values[: state.rows], mask)

    def _step_many(
        self, q: Tensor, k: Tensor, v: Tensor, context: StepContext, state: WindowState
    ) -> Tensor:
        """The plain way, for any K and any mixture: old slots and new tokens side by side, written after."""
        slots, size, device = state.slots, state.window, q.device
        n, new = q.shape[:2]
        local = context.local
        if local is None:
            local = torch.ones(n, new, dtype=torch.bool, device=device)
        made, filled = slots.made[:n, None], slots.filled[:n]
        count = made + local.cumsum(
            dim=1
        )  # (B, K) number of the last generated token at each position
        slot = torch.arange(size, device=device)
        number = made - (made - 1 - slot) % size  # (B, W) of the token in each slot of the ring
        ring = filled[:, None, :size] & (count[:, :, None] - number[:, None] < size)
        old = filled[:, None, size:].expand(-1, new, -1)
        near = ~local[:, None] | (count[:, :, None] - count[:, None] < size)
        causal = torch.ones(new, new, dtype=torch.bool, device=device).tril()
        mask = torch.cat((ring, old, near & causal), dim=-1)[:, None]
        keys = torch.cat((slots.keys[:n].to(k.dtype), k.transpose(1, 2)), dim=2)
        values = torch.cat((slots.values[:n].to(v.dtype), v.transpose(1, 2)), dim=2)
        y = self._attend(q, keys, values, mask)

        place = size + filled[:, size:].sum(dim=1, keepdim=True) + (~local).cumsum(dim=1) - 1
        slots.reserve(int(place.max()) + 1)
        place = torch.where(local, (count - 1) % size, place)
        kept = ~local | (count[:, -1:] - count < size)  # no slot of the ring is written twice
        row, position = kept.nonzero(as_tuple=True)
        at = place[row, position]
        slots.keys[row, :, at] = k[row, position].to(slots.keys.dtype)
        slots.values[row, :, at] = v[row, position].to(slots.values.dtype)
        slots.filled[row, at] = True
        slots.made[:n] = count[:, -1]
        return y
