"""The one token loop: rows join, are decoded side by side, and leave as they end.

Live rows lie in the first slots of one state. A row that ends gives its slot to the last one, and a row that
waits is prefilled and joins at the end (continuous batching): no step is computed for a row that is silent.
A snapshot takes a row out in the middle of its sequence, to go on with it later, elsewhere or more than once.

B live rows, K new tokens, V speech codes, W the sampling's window.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mamtra.backbone.state import DecodeState
from mamtra.lm.rows import Row, Snapshot
from mamtra.lm.sampling import Sampling, sample
from mamtra.lm.sequence import KIND_PAD, KIND_SPEECH
from mamtra.lm.speech_lm import SpeechLM

UNIFORMS_AHEAD = 256  # steps for which a row draws its random numbers at a time


class Engine:
    """Decodes rows of one model, at most `capacity` of them at a time.

    max_length: positions that the longest row may come to. `row_steps` counts the draws that were computed,
    `prefill_s` and `decode_s` the time. Raises ValueError for a model in training mode; the model's own errors.
    """

    def __init__(
        self, model: SpeechLM, sampling: Sampling, *, capacity: int, max_length: int
    ) -> None:
        if model.training:
            raise ValueError("generation needs the model in eval mode")
        self.model, self.sampling = model, sampling
        self.capacity, self.max_length = capacity, max_length
        self.rows: list[Row] = []  # live; the index is the slot
        self.waiting: deque[Row] = deque()
        self.row_steps, self.prefill_s, self.decode_s = 0, 0.0, 0.0
        self._returning: deque[tuple[Row, Snapshot]] = deque()
        self._state: DecodeState | None = None
        self._n_drawn: list[int] = []
        device = model.device
        self._uniforms = torch.empty(
            capacity, UNIFORMS_AHEAD, 2, dtype=torch.float64, device=device
        )
        self._recent = torch.full((capacity, sampling.window), -1, dtype=torch.int64, device=device)
        self._spoken = torch.zeros(capacity, dtype=torch.int64, device=device)
        self._slots = torch.arange(capacity, device=device)

    def add(self, rows: Iterable[Row]) -> None:
        """Rows that are spoken as soon as there is room for them."""
        self.waiting.extend(rows)

    @torch.inference_mode()
    def snapshot(self, row: Row) -> Snapshot:
        """Everything of a live row, copied. Raises ValueError for a row that is not live."""
        if self._state is None or row not in self.rows:
            raise ValueError("only a row that is being decoded has a state to keep")
        slot = self.rows.index(row)
        return Snapshot(
            self.model.fingerprint(),
            row.copy(),
            self._state.copy_row(slot),
            self._uniforms[slot].clone(),
            self._n_drawn[slot],
            self._recent[slot].clone(),
            self._spoken[slot].clone(),
        )

    def restore(self, snapshot: Snapshot) -> Row:
        """A row that goes on where the snapshot was taken, as soon as there is room and before those that wait.

        Raises ValueError for a snapshot of another model or dtype, of another window of the sampling, and for
        one that is longer than this engine's rows.
        """
        if snapshot.model != self.model.fingerprint():
            raise ValueError("the snapshot is of another model, or of this one in another dtype")
        if len(snapshot.recent) != self.sampling.window:
            raise ValueError(
                f"the snapshot was taken with window={len(snapshot.recent)}, "
                f"this engine samples with window={self.sampling.window}"
            )
        if snapshot.state.longest > self.max_length:
            raise ValueError(
                f"a snapshot of {snapshot.state.longest} positions does not fit in {self.max_length}"
            )
        row = snapshot.row.copy()
        self._returning.append((row, snapshot))
        return row

    @torch.inference_mode()
    def draw(self) -> list[tuple[Row, int]]:
        """Feeds what waits and gives every live row its next token; rows that end are gone after it.

        Empty when no row is left.
        """
        logits = self._feed()
        if logits is None:
            return []
        started = time.perf_counter()
        n = len(self.rows)
        for slot, row in enumerate(self.rows):
            if row.banned is not None:
                logits[slot, row.banned] = float("-inf")
        drawn = sample(logits, self._recent[:n], self._next_uniforms(), self.sampling)
        self._remember(slice(n), drawn[:, None])
        self.row_steps += n
        result = list(zip(self.rows, drawn.tolist(), strict=True))
        ended = [slot for slot, (row, token) in enumerate(result) if row.take(token)]
        for slot in reversed(ended):
            self._leave(slot)
        self.decode_s += time.perf_counter() - started
        return result

    def remember(self, row: Row, token: int) -> None:
        """Lets the sampling see a token that was forced instead of drawn."""
        slot = self.rows.index(row)
        self._remember(slice(slot, slot + 1), torch.tensor([[token]], device=self.model.device))

    def _remember(self, slots: slice, tokens: Tensor) -> None:
        if self.sampling.window:
            self._recent[slots] = torch.cat((self._recent[slots, 1:], tokens), dim=1)

    def _next_uniforms(self) -> Tensor:
        """(B, 2) of the rows' own generators: a row uses the same numbers whatever runs beside it."""
        counts = self._n_drawn
        for slot, row in enumerate(self.rows):
            if counts[slot] % UNIFORMS_AHEAD == 0:
                ahead = torch.rand(UNIFORMS_AHEAD, 2, generator=row.generator, dtype=torch.float64)
                self._uniforms[slot] = ahead
        first = counts[0] % UNIFORMS_AHEAD
        if all(count == counts[0] for count in counts):
            found = self._uniforms[: len(counts), first]
        else:
            at = torch.tensor(counts, device=self._uniforms.device) % UNIFORMS_AHEAD
            found = self._uniforms[self._slots[: len(counts)], at]
        self._n_drawn = [count + 1 for count in counts]
        return found

    def _feed(self) -> Tensor | None:
        """Logits (B, V+3) after everything that waits to be fed; None without rows."""
        parts = []
        self._return()
        if self.rows:
            started = time.perf_counter()
            parts.append(self._step())
            self.decode_s += time.perf_counter() - started
        room = self.capacity - len(self.rows)
        new = [self.waiting.popleft() for _ in range(min(room, len(self.waiting)))]
        if new:
            started = time.perf_counter()
            parts.append(self._join(new))
            self.prefill_s += time.perf_counter() - started
        if not parts:
            return None
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _step(self) -> Tensor:
        assert self._state is not None
        n, device = len(self.rows), self.model.device
        ids = torch.tensor([row.ids for row in self.rows], device=device)
        if ids.shape[1] == 1 and all(row.kinds == [KIND_SPEECH] for row in self.rows):
            logits = self.model.step_speech(ids[:, 0], self._spoken[:n], self._state)
            self._spoken[:n] += 1
        else:
            kinds = torch.tensor([row.kinds for row in self.rows], dtype=torch.int8, device=device)
            embeds = self.model.embed(ids, kinds, spoken=self._spoken[:n])
            logits = self.model.step(embeds, self._state, kinds == KIND_SPEECH)[:, -1]
            self._spoken[:n] += (kinds == KIND_SPEECH).sum(dim=1)
        for row in self.rows:
            row.ids, row.kinds = [], []
        return logits

    def _join(self, new: Sequence[Row]) -> Tensor:
        """Prefills rows together, right-padded, and gives them the next slots."""
        device, before = self.model.device, len(self.rows)
        pad = torch.nn.utils.rnn.pad_sequence
        ids = pad([torch.tensor(row.ids) for row in new], batch_first=True).to(device)
        kinds = pad(
            [torch.tensor(row.kinds, dtype=torch.int8) for row in new],
            batch_first=True,
            padding_value=KIND_PAD,
        )
        mask = (kinds >= 0).to(device) if bool((kinds < 0).any()) else None
        kinds = kinds.to(device)
        # The first rows' state has room for what comes later, where they fill all slots.
        whole = self._state is None and len(new) == self.capacity
        length = self.max_length if whole else ids.shape[1]
        logits, state = self.model.prefill(self.model.embed(ids, kinds), mask, max_length=length)
        if whole:
            self._state = state
        else:
            own = self._room(before + len(new))
            for i in range(len(new)):
                own.take_row(before + i, state, i)
        after = before + len(new)
        self._spoken[before:after] = (kinds == KIND_SPEECH).sum(dim=1)
        self._recent[before:after] = -1
        self._n_drawn += [0] * len(new)
        self.rows += new
        for row in new:
            row.ids, row.kinds = [], []
        return logits

    def _room(self, n: int) -> DecodeState:
        """The state with its first n rows live."""
        if self._state is None:
            self._state = self.model.new_state(self.capacity, self.max_length)
        self._state.resize(n)
        return self._state

    def _return(self) -> None:
        """Gives restored rows the next slots."""
        while self._returning and len(self.rows) < self.capacity:
            row, kept = self._returning.popleft()
            slot = len(self.rows)
            self._room(slot + 1).take_row(slot, kept.state, 0)
            self._uniforms[slot], self._recent[slot] = kept.uniforms, kept.recent
            self._spoken[slot] = kept.spoken
            self._n_drawn.append(kept.n_drawn)
            self.rows.append(row)

    def _leave(self, slot: int) -> None:
        """The last row takes the slot."""
        assert self._state is not None
        last = len(self.rows) - 1
        if slot != last:
            self._state.take_row(slot, self._state, last)
            for kept in (self._uniforms, self._recent, self._spoken):
                kept[slot] = kept[last]
            self._n_drawn[slot], self.rows[slot] = self._n_drawn[last], self.rows[last]
        self.rows.pop()
        self._n_drawn.pop()
        self._state.resize(last)
