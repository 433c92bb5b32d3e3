import random
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from data.batching import TokenBudgetSampler, pack_batches, pair_utterances, plan_epoch
from data.tokens import TokenTable

MAX_TOKENS = 600


def table(count=97, voices=5, longest=80) -> TokenTable:
    rng = random.Random(1)
    return TokenTable.of(
        utterances=tuple(f"u{i}" for i in range(count)),
        voices=tuple(f"v{rng.randrange(voices)}" for _ in range(count)),
        text_ids=tuple(torch.zeros(rng.randint(3, 30), dtype=torch.long) for _ in range(count)),
        speech_ids=tuple(
            torch.zeros(rng.randint(10, longest), dtype=torch.long) for _ in range(count)
        ),
    )


def members(batches):
    return Counter(i for batch in batches for sequence in batch for i in sequence)


def padded(corpus, batch):
    return len(batch) * max(corpus.sequence_lengths(sequence) for sequence in batch)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("epoch", [0, 1])
def test_each_utterance_once_per_epoch_on_all_ranks_together(world_size, epoch):
    corpus = table()
    plan = plan_epoch(corpus, MAX_TOKENS, 0.85, 7, epoch, world_size).shares()
    assert members([b for rank in plan for b in rank]) == Counter(range(len(corpus)))
    assert len({len(rank) for rank in plan}) == 1 and len(plan) == world_size
    assert all(padded(corpus, b) <= MAX_TOKENS for rank in plan for b in rank)


def test_the_sampler_of_each_rank_follows_the_plan():
    corpus = table()
    samplers = [TokenBudgetSampler(corpus, MAX_TOKENS, 0.85, 7, r, 2) for r in range(2)]
    steps = len(samplers[0].epoch_batches(0))
    both = [batch for sampler in samplers for batch in islice(sampler, steps)]
    assert not any(streams for batch in both for _, streams in batch)
    both = [[sequence for sequence, _ in batch] for batch in both]
    assert members(both) == Counter(range(len(corpus)))


def test_streams_are_drawn_again_each_epoch_and_repeated_on_resume():
    corpus = table()
    sampler = TokenBudgetSampler(corpus, MAX_TOKENS, 0.5, 7, bistream_probability=0.5)
    epochs = [sampler.epoch_batches(epoch) for epoch in range(2)]
    flags = [{m: s for batch in epoch for m, s in batch} for epoch in epochs]
    assert epochs[1] == sampler.epoch_batches(1)
    able = [{m: s for m, s in f.items() if corpus.can_stream(m)} for f in flags]
    for draws, epoch in zip(able, flags, strict=True):
        assert not any(streams for m, streams in epoch.items() if m not in draws)
        assert 0.25 < sum(draws.values()) / len(draws) < 0.75
    both = able[0].keys() & able[1].keys()
    assert any(able[0][m] != able[1][m] for m in both)
    resumed = TokenBudgetSampler(corpus, MAX_TOKENS, 0.5, 7, start_step=3, bistream_probability=0.5)
    assert next(iter(resumed)) == epochs[0][3]
    with pytest.raises(ValueError, match="bistream_probability"):
        TokenBudgetSampler(corpus, MAX_TOKENS, 0.5, 7, bistream_probability=1.5)


def test_accumulated_batches_are_those_of_the_ranks_they_stand_for():
    corpus = table()
    ranks = [
        TokenBudgetSampler(corpus, MAX_TOKENS, 0.5, 7, rank=r, world_size=4).epoch_batches(1)
        for r in range(4)
    ]
    for accumulate in (2, 4):
        world = 4 // accumulate
        options = {"world_size": world, "accumulate": accumulate}
        for rank in range(world):
            own = TokenBudgetSampler(corpus, MAX_TOKENS, 0.5, 7, rank=rank, **options)
            parts = ranks[rank * accumulate : (rank + 1) * accumulate]
            assert own.epoch_batches(1) == [b for step in zip(*parts, strict=True) for b in step]
            own.start_step = 2
            assert next(iter(own)) == own.epoch_batches(0)[2 * accumulate]
    with pytest.raises(ValueError, match="accumulate"):
        TokenBudgetSampler(corpus, MAX_TOKENS, 0.5, 7, accumulate=0)


def test_odd_batch_counts_are_split_not_dropped():
    corpus = table(count=3, voices=3)
    plan = plan_epoch(corpus, 10_000, 0.0, seed=0, epoch=0, shares=2).shares()
    assert [len(rank) for rank in plan] == [1, 1]
    assert members([b for rank in plan for b in rank]) == Counter(range(3))
    with pytest.raises(ValueError, match="3 sequences cannot be dealt to 4 ranks"):
        plan_epoch(corpus, 10_000, 0.0, seed=0, epoch=0, shares=4)


def test_pairs_share_a_voice_and_fit():
    corpus = table()
    sequences = list(pair_utterances(corpus, 0.85, MAX_TOKENS, np.random.default_rng(0)))
    pairs = [s for s in sequences if len(s) == 2]
    assert {len(s) for s in sequences} == {1, 2}
    assert all(corpus.voices[a] == corpus.voices[b] for a, b in pairs)
    lengths = pair_utterances(corpus, 0.85, MAX_TOKENS, np.random.default_rng(0)).lengths(corpus)
    assert lengths.tolist() == [corpus.sequence_lengths(s) for s in sequences]
    assert len(pair_utterances(corpus, 0.0, MAX_TOKENS, np.random.default_rng(0))) == len(corpus)
    tight = list(pair_utterances(corpus, 1.0, 120, np.random.default_rng(0)))
    assert all(corpus.sequence_lengths(s) <= 120 for s in tight)
    assert sorted(i for s in tight for i in s) == list(range(len(corpus)))


def test_pair_probability_is_the_chance_to_take_a_partner():
    corpus = table(count=3000, voices=1)
    sequences = list(pair_utterances(corpus, 0.5, MAX_TOKENS, np.random.default_rng(0)))
    pairs = sum(len(s) == 2 for s in sequences)
    assert pairs / len(sequences) == pytest.approx(0.5, abs=0.03)


def test_epochs_and_seeds_differ_and_repeat():
    corpus = table()

    def plan(seed, epoch):
        return plan_epoch(corpus, MAX_TOKENS, 0.85, seed, epoch, 1).shares()

    assert plan(7, 0) == plan(7, 0)
    assert plan(7, 0) != plan(7, 1)
    assert plan(7, 0) != plan(8, 0)


def test_padding_is_small():
    corpus = table(count=2000, voices=5)
    [batches] = plan_epoch(corpus, 4000, 0.85, seed=0, epoch=0, shares=1).shares()
    real = sum(corpus.sequence_lengths(s) for batch in batches for s in batch)
    assert real / sum(padded(corpus, batch) for batch in batches) > 0.95
    # All but the last batch of the length order are nearly full.
    assert real / (4000 * len(batches)) > 0.9


def test_pack_batches_respects_the_budget_with_jitter():
    lengths = np.array([random.Random(i).randint(5, 90) for i in range(300)])
    order, starts = pack_batches(lengths, 200, np.random.default_rng(0))
    batches = [order[a:b] for a, b in pairwise(starts)]
    assert sorted(order) == list(range(300)) and starts[-1] == 300 and min(map(len, batches)) > 0
    assert all(len(b) * lengths[b].max() <= 200 for b in batches)
    mean = [lengths[b].mean() for b in batches]
    assert all(b > 0.97 * a for a, b in pairwise(mean))


def test_starting_later_continues_the_same_stream_across_epochs():
    corpus = table()
    stream = list(islice(TokenBudgetSampler(corpus, MAX_TOKENS, 0.85, 7), 60))
    epoch_length = len(TokenBudgetSampler(corpus, MAX_TOKENS, 0.85, 7).epoch_batches(0))
    assert 2 * epoch_length < 60, "the stream must cross epochs"
    for start in (1, epoch_length - 1, epoch_length, epoch_length + 3, 2 * epoch_length + 1):
        later = TokenBudgetSampler(corpus, MAX_TOKENS, 0.85, 7, start_step=start)
        assert list(islice(later, 60 - start)) == stream[start:]


def test_an_utterance_longer_than_the_budget_is_named():
    corpus = table(count=20)
    too_long = max(range(20), key=lambda i: corpus.sequence_lengths((i,)))
    budget = corpus.sequence_lengths((too_long,)) - 1
    with pytest.raises(ValueError, match=f"'u{too_long}' takes {budget + 1} positions"):
        TokenBudgetSampler(corpus, budget, 0.85, 0)


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"pair_probability": 1.5}, "pair_probability"), ({"rank": 2, "world_size": 2}, "rank 2")],
)
def test_bad_arguments(changes, match):
    arguments = {"max_tokens": MAX_TOKENS, "pair_probability": 0.5, "seed": 0, **changes}
    with pytest.raises(ValueError, match=match):
        TokenBudgetSampler(table(), **arguments)
