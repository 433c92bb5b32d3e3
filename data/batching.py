"""Which utterances share a sequence and which sequences share a batch: a pure function of (seed,
epoch).

An epoch pairs utterances of one voice, sorts the sequences into batches of similar length under a
budget of padded positions, and deals the batches to the ranks. Because nothing but (seed, epoch) is
drawn from, a position in training is one number, the count of steps done, and a resumed run sees
the same batches.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence

from data.tokens import TokenTable

Members = tuple[int, ...]  # rows of the token table that are joined into one sequence
Draw = tuple[Members, bool]  # and whether text and speech alternate in it (`build_bistream`)
# Relative noise on the sorting key: batch mates change between epochs at under one percent more
# padding.
LENGTH_JITTER = 0.02


def pair_utterances(
    table: TokenTable, pair_probability: float, max_tokens: int, rng: random.Random
) -> list[Members]:
    """Sequences of 1 or 2 utterances of the same voice; every utterance is in exactly one of them.

    A pair that would not fit in `max_tokens` positions becomes two single sequences.
    """
    by_voice: dict[str, list[int]] = defaultdict(list)
    for index, voice in enumerate(table.voices):
        by_voice[voice].append(index)
    sequences: list[Members] = []
    for voice in sorted(by_voice):
        waiting = by_voice[voice]
        rng.shuffle(waiting)
        while waiting:
            first = waiting.pop()
            if waiting and rng.random() < pair_probability:
                pair = (first, waiting[-1])
                if table.sequence_lengths(pair) <= max_tokens:
                    waiting.pop()
                    sequences.append(pair)
                    continue
            sequences.append((first,))
    return sequences


def pack_batches(
    sequences: Sequence[Members], lengths: Sequence[int], max_tokens: int, rng: random.Random
) -> list[list[Members]]:
    """Batches with rows x longest <= `max_tokens`, similar lengths together, shortest batch
    first."""
    jittered = [length * (1 + LENGTH_JITTER * rng.random()) for length in lengths]
    batches: list[list[Members]] = []
    longest = 0
    for index in sorted(range(len(sequences)), key=jittered.__getitem__):
        longest = max(longest, lengths[index])
        if batches and (len(batches[-1]) + 1) * longest <= max_tokens:
            batches[-1].append(sequences[index])
        else:
            batches.append([sequences[index]])
            longest = lengths[index]
    return batches


def plan_epoch(
    table: TokenTable,
    max_tokens: int,
    pair_probability: float,
    seed: int,
    epoch: int,
    world_size: int,
) -> list[list[list[Members]]]:
    """The batches of one epoch, per rank: `plan[rank][step]` is a list of sequences.

    Every utterance is in exactly one batch of one rank, all ranks have the same number of batches,
    and the batches of one step have similar lengths, so no rank waits long for another. Raises
    ValueError when there are fewer sequences than ranks.
    """
    rng = random.Random(f"{seed}-{epoch}")
    sequences = pair_utterances(table, pair_probability, max_tokens, rng)
    lengths = [table.sequence_lengths(members) for members in sequences]
    batches = pack_batches(sequences, lengths, max_tokens, rng)
    if len(sequences) < world_size:
        raise ValueError(f"{len(sequences)} sequences cannot be dealt to {world_size} ranks")
    while len(batches) % world_size:  # halve the batch with most rows: a step needs one per rank
        index = max(range(len(batches)), key=lambda i: len(batches[i]))
        rows = batches[index]
        if len(rows) == 1:
            raise ValueError(
                f"{len(sequences)} sequences of nearly max_tokens={max_tokens} positions cannot be dealt to "
                f"{world_size} shares (ranks x accumulate) of a step"
            )
        batches[index : index + 1] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    steps = [batches[i : i + world_size] for i in range(0, len(batches), world_size)]
    rng.shuffle(steps)
    return [[step[rank] for step in steps] for rank in range(world_size)]


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

    def epoch_batches(self, epoch: int) -> list[list[Draw]]:
        """This rank's batches of `epoch`, those of one step beside each other."""
        probability = 0.0 if epoch < self.single_epochs else self.pair_probability
        shares = self.world_size * self.accumulate
        plan = plan_epoch(self.table, self.max_tokens, probability, self.seed, epoch, shares)
        own = plan[self.rank * self.accumulate : (self.rank + 1) * self.accumulate]
        return [
            [(members, self._streams(epoch, members)) for members in batch]
            for step in zip(*own, strict=True)
            for batch in step
        ]

    def _streams(self, epoch: int, members: Members) -> bool:
        """Drawn from (seed, epoch, members) alone, so that a resumed run draws the same."""
        if not self.bistream_probability or not self.table.can_stream(members):
            return False
        draw = random.Random(f"{self.seed}-{epoch}-{members}").random()
        return draw < self.bistream_probability

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, to_skip = 0, self.start_step * self.accumulate
        while True:
            batches = self.epoch_batches(epoch)
            yield from batches[to_skip:]
            to_skip = max(0, to_skip - len(batches))
            epoch += 1


def check_lengths(table: TokenTable, max_tokens: int) -> None:
    """Raises ValueError naming the first utterance whose own sequence exceeds `max_tokens`
    positions."""
    for index, utterance in enumerate(table.utterances):
        length = table.sequence_lengths((index,))
        if length > max_tokens:
            raise ValueError(
                f"utterance {utterance!r} takes {length} positions, "
                f"more than max_tokens={max_tokens}"
            )
