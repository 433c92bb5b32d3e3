"""Which utterances share a sequence and which sequences share a batch: a pure function of (seed,
epoch).

An epoch pairs utterances of one voice, sorts the sequences into batches of similar length under a
budget of padded positions, and deals the batches to the ranks. Because nothing but (seed, epoch) is
drawn from, a position in training is one number, the count of steps done, and a resumed run sees
the same batches. Arrays all the way: an epoch of ten million utterances is planned in seconds.

N utterances, S sequences, B batches.
"""

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.tokens import TokenTable

Members = tuple[int, ...]  # rows of the token table that are joined into one sequence
Draw = tuple[Members, bool]  # and whether text and speech alternate in it (`build_bistream`)
# Relative noise on the sorting key: batch mates change between epochs at under one percent more
# padding.
LENGTH_JITTER = 0.02
NONE = -1


@dataclass(frozen=True)
class Sequences:
    """S sequences of 1 or 2 utterances: `first` (S,) int32, and `second` (S,) int32, NONE without one."""

    first: np.ndarray
    second: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index: int) -> Members:
        first, second = int(self.first[index]), int(self.second[index])
        return (first,) if second == NONE else (first, second)

    def lengths(self, table: TokenTable) -> np.ndarray:
        """(S,) int32 positions, as `TokenTable.sequence_lengths`."""
        both = self.second != NONE
        lengths = table.lengths[self.first]  # a copy
        lengths[both] += table.lengths[self.second[both]] - 2
        return lengths


def pair_utterances(
    table: TokenTable, pair_probability: float, max_tokens: int, rng: np.random.Generator
) -> Sequences:
    """Sequences of 1 or 2 utterances of the same voice; every utterance is in exactly one of them.

    A pair that would not fit in `max_tokens` positions becomes two single sequences.
    """
    order = np.arange(len(table), dtype=np.int32)
    if not pair_probability:
        return Sequences(order, np.full(len(order), NONE, np.int32))
    rng.shuffle(order)
    voices = np.asarray(table.voice_numbers)[order]
    by_voice = np.argsort(voices, kind="stable")  # a random order within each voice
    order, voices = order[by_voice], voices[by_voice]
    del by_voice
    lengths = table.lengths[order]
    # Whether each utterance may take the one after it.
    may = voices[1:] == voices[:-1]
    may &= lengths[1:] + lengths[:-1] - 2 <= max_tokens
    may &= rng.random(len(may), np.float32) < pair_probability
    # Of a run of those that may, every other one does: the one between has been taken.
    here = np.arange(len(may), dtype=np.int32)
    begins = may.copy()
    begins[1:] &= ~may[:-1]
    run = np.maximum.accumulate(np.where(begins, here, 0)) if len(may) else here
    takes = np.zeros(len(order), bool)
    takes[:-1] = may & ((here - run) % 2 == 0)
    taken = np.zeros(len(order), bool)
    taken[1:] = takes[:-1]
    second = np.where(takes, np.roll(order, -1), np.int32(NONE))
    return Sequences(order[~taken], second[~taken])


def pack_batches(
    lengths: np.ndarray, max_tokens: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Batches with rows x longest <= `max_tokens`, similar lengths together, shortest batch first.

    lengths: (S,). Returns order (S,) int32 and starts (B+1,): batch b is `order[starts[b] : starts[b + 1]]`.
    """
    jitter = rng.random(len(lengths), np.float32)
    # Stable, or equal keys would be in another order on another processor.
    order = np.argsort(lengths * (1 + np.float32(LENGTH_JITTER) * jitter), kind="stable")
    order = order.astype(np.int32)
    ahead = np.asarray(lengths)[order]
    starts, start = [0], 0
    while start < len(ahead):
        most = max(1, max_tokens // int(ahead[start]))
        longest = np.maximum.accumulate(ahead[start : start + most])
        over = longest * np.arange(1, len(longest) + 1) > max_tokens
        start += max(1, int(np.argmax(over))) if over.any() else len(longest)
        starts.append(start)
    return order, np.array(starts)


@dataclass(frozen=True)
class EpochPlan:
    """All batches of an epoch: batch b joins `sequences` of `order[starts[b] : starts[b + 1]]`; `steps`
    (steps, shares) int are the batches of each step, one for each share of it."""

    sequences: Sequences
    order: np.ndarray
    starts: np.ndarray
    steps: np.ndarray

    def batch(self, step: int, share: int) -> list[Members]:
        number = int(self.steps[step, share])
        rows = self.order[self.starts[number] : self.starts[number + 1]]
        return [self.sequences[int(row)] for row in rows]

    def shares(self) -> list[list[list[Members]]]:
        """`shares()[share][step]`, all of them as lists: of small corpora."""
        n_steps, n_shares = self.steps.shape
        return [[self.batch(step, share) for step in range(n_steps)] for share in range(n_shares)]


def plan_epoch(
    table: TokenTable,
    max_tokens: int,
    pair_probability: float,
    seed: int,
    epoch: int,
    shares: int,
) -> EpochPlan:
    """The batches of one epoch, for `shares` (ranks x accumulated batches) in each step.

    Every utterance is in exactly one batch of one share, all shares have the same number of batches,
    and the batches of one step have similar lengths, so no rank waits long for another. Raises
    ValueError when there are fewer sequences than shares.
    """
    rng = np.random.default_rng((seed, epoch))
    sequences = pair_utterances(table, pair_probability, max_tokens, rng)
    if len(sequences) < shares:
        raise ValueError(f"{len(sequences)} sequences cannot be dealt to {shares} ranks")
    order, starts = pack_batches(sequences.lengths(table), max_tokens, rng)
    starts = _divided(starts, -(len(starts) - 1) % shares)
    if starts is None:
        raise ValueError(
            f"{len(sequences)} sequences of nearly max_tokens={max_tokens} positions cannot be dealt to "
            f"{shares} shares (ranks x accumulate) of a step"
        )
    steps = np.arange(len(starts) - 1).reshape(-1, shares)
    return EpochPlan(sequences, order, starts, steps[rng.permutation(len(steps))])


def _divided(starts: np.ndarray, more: int) -> np.ndarray | None:
    """`starts` of `more` batches, halving the one with most rows each time; None when none is left."""
    if not more:
        return starts
    heap = [(-int(n), int(start)) for n, start in zip(np.diff(starts), starts, strict=False)]
    heapq.heapify(heap)
    cuts = []
    for _ in range(more):
        rows, start = heapq.heappop(heap)
        half = -rows // 2
        if not half:
            return None
        cuts.append(start + half)
        heapq.heappush(heap, (-half, start))
        heapq.heappush(heap, (rows + half, start + half))
    return np.sort(np.concatenate([starts, cuts]))


class TokenBudgetSampler:
    """Endless batch sampler of one rank that starts after `start_step` batches.

    In the first `single_epochs` epochs no utterances are paired: short texts are where a model that
    starts from nothing finds the alignment.

    A sequence whose speech is long enough for it is laid out as a bistream one with probability
    `bistream_probability`, anew in each epoch.

    Yields lists of `Draw`, `accumulate` of them for each optimiser step: `start_step` is the trainer's
    step count, and saving that number saves the position, mid-epoch too. An epoch is planned for
    world_size x accumulate batches per step, so that n ranks see in one step what one rank sees with
    n times the accumulation. Raises ValueError, naming the utterance, when one is longer than
    `max_tokens` by itself.
    """

    def __init__(
        self,
        table: TokenTable,
        max_tokens: int,
        pair_probability: float,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
        single_epochs: int = 0,
        bistream_probability: float = 0.0,
        accumulate: int = 1,
    ):
        if accumulate < 1:
            raise ValueError(f"accumulate must be at least 1, not {accumulate}")
        if not 0 <= bistream_probability <= 1:
            raise ValueError(f"bistream_probability must be in [0, 1], not {bistream_probability}")
        if not 0 <= pair_probability <= 1:
            raise ValueError(f"pair_probability must be in [0, 1], not {pair_probability}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is outside 0..{world_size - 1}")
        check_lengths(table, max_tokens)
        self.table, self.max_tokens, self.pair_probability = table, max_tokens, pair_probability
        self.seed, self.rank, self.world_size, self.start_step = seed, rank, world_size, start_step
        self.single_epochs = single_epochs
        self.bistream_probability, self.accumulate = bistream_probability, accumulate

    def plan(self, epoch: int) -> EpochPlan:
        """The batches of all ranks."""
        probability = 0.0 if epoch < self.single_epochs else self.pair_probability
        shares = self.world_size * self.accumulate
        return plan_epoch(self.table, self.max_tokens, probability, self.seed, epoch, shares)

    def epoch_batches(self, epoch: int) -> list[list[Draw]]:
        """This rank's batches of `epoch`, those of one step beside each other."""
        return list(self._batches(epoch, self.plan(epoch), 0))

    def _batches(self, epoch: int, plan: EpochPlan, first_step: int) -> Iterator[list[Draw]]:
        for step in range(first_step, len(plan.steps)):
            for share in range(self.rank * self.accumulate, (self.rank + 1) * self.accumulate):
                members = plan.batch(step, share)
                yield [(one, self._streams(epoch, one)) for one in members]

    def _streams(self, epoch: int, members: Members) -> bool:
        """Drawn from (seed, epoch, members) alone, so that a resumed run draws the same."""
        if not self.bistream_probability or not self.table.can_stream(members):
            return False
        draw = random.Random(f"{self.seed}-{epoch}-{members}").random()
        return draw < self.bistream_probability

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, to_skip = 0, self.start_step
        while True:
            plan = self.plan(epoch)
            yield from self._batches(epoch, plan, to_skip)
            to_skip = max(0, to_skip - len(plan.steps))
            epoch += 1


def check_lengths(table: TokenTable, max_tokens: int) -> None:
    """Raises ValueError naming the first utterance whose own sequence exceeds `max_tokens`
    positions."""
    longer = table.lengths > max_tokens
    if longer.any():
        index = int(np.argmax(longer))
        raise ValueError(
            f"utterance {table.utterances[index]!r} takes {table.lengths[index]} positions, "
            f"more than max_tokens={max_tokens}"
        )
