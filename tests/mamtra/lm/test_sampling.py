"""Repetition-aware sampling against CosyVoice 2's definition written as a loop."""

import pytest
import torch
from scipy.stats import chisquare

from mamtra.lm.sampling import NOTHING, Sampling, _sample, sample

NO_HISTORY = torch.full((1, 0), -1)


def draws(logits, history, settings, count=20_000, seed=0):
    """Frequencies (V,) of `count` independent draws."""
    g = torch.Generator().manual_seed(seed)
    uniforms = torch.rand(count, 2, generator=g, dtype=torch.float64)
    tokens = sample(logits.expand(count, -1), history.expand(count, -1), uniforms, settings)
    return torch.bincount(tokens, minlength=logits.shape[-1]) / count


def nucleus(probabilities, top_p, top_k):
    """Kept tokens and their renormalised probabilities, as upstream's loop collects them."""
    kept = torch.zeros_like(probabilities)
    cumulative = 0.0
    for count, token in enumerate(probabilities.argsort(descending=True).tolist()):
        if not (cumulative < top_p and count < top_k):
            break
        cumulative += float(probabilities[token])
        kept[token] = probabilities[token]
    return kept / kept.sum()


@pytest.mark.parametrize(("top_p", "top_k"), [(0.8, 25), (0.5, 25), (1.0, 3), (0.9, 1), (1e-6, 9)])
def test_nucleus_frequencies(top_p, top_k):
    logits = torch.tensor([[2.0, 0.1, 1.5, -3.0, 1.0, 0.5]])
    expected = nucleus(torch.softmax(logits[0], -1), top_p, top_k)
    found = draws(logits, NO_HISTORY, Sampling(top_p, top_k))
    assert bool((found[expected == 0] == 0).all())
    assert (found - expected).abs().max() < 0.015


def test_repeated_token_falls_back_to_the_full_distribution_without_it():
    logits = torch.tensor([[9.0, 1.0, 0.5, -1.0]])  # the nucleus is token 0 alone
    settings = Sampling(top_p=0.5, window=10, tau=0.1)
    fresh = draws(logits, torch.tensor([[1, 2, 3]]), settings)
    assert fresh[0] == 1.0
    repeated = draws(logits, torch.tensor([[1, 0, 3]]), settings)
    expected = torch.softmax(torch.tensor([-torch.inf, 1.0, 0.5, -1.0]), -1)
    assert (repeated - expected).abs().max() < 0.015


def test_frequencies_are_the_definitions_for_every_token():
    """60,000 draws over 700 tokens, the most likely ones already in the window: chi-square test."""
    g = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(1, 700, generator=g)
    history = logits.topk(4).indices[:, [0, 2, 3]]
    p = torch.softmax(logits[0].double(), -1)
    kept = nucleus(p, 0.8, 25)
    expected = torch.zeros_like(p)
    for token in kept.nonzero()[:, 0].tolist():
        if token in history[0].tolist():
            others = p.clone()
            others[token] = 0
            expected += kept[token] * others / others.sum()
        else:
            expected[token] += kept[token]
    n_parts, size = 20, 3_000
    parts = [draws(logits, history, Sampling(), size, seed=n) for n in range(n_parts)]
    found = (torch.stack(parts).double() * size).round().sum(dim=0)
    counts = n_parts * size * expected
    # Tokens in the order of their probability, as many to a bin as make ten expected draws.
    order = counts.argsort(descending=True)
    bins = (counts[order].cumsum(0) / 10).floor().long()
    bins = bins.unique(return_inverse=True)[1]
    bins = bins.clamp(max=int(bins.max()) - 1)  # the last one may be far from full
    totals = [torch.zeros(int(bins.max()) + 1).double() for _ in range(2)]
    for total, values in zip(totals, (found, counts), strict=True):
        total.index_add_(0, bins, values[order].double())
    assert len(totals[0]) > 30 and float(totals[1].min()) > 5, "the tail is compared too"
    assert chisquare(*(total.numpy() for total in totals)).pvalue > 0.01


def test_only_the_window_counts_and_tau_sets_how_often():
    logits = torch.tensor([[9.0, 1.0, 0.5, -1.0]])
    early = torch.tensor([[0, *[1] * 10]])
    assert draws(logits, early, Sampling(top_p=0.5, window=10, tau=0.1), 100)[0] == 1.0
    once = torch.tensor([[0, 1, 1, 1]])
    assert draws(logits, once, Sampling(top_p=0.5, window=10, tau=0.2), 100)[0] == 1.0
    twice = torch.tensor([[0, 0, 1, 1]])
    assert draws(logits, twice, Sampling(top_p=0.5, window=10, tau=0.2), 100)[0] == 0.0
    assert draws(logits, twice, Sampling(top_p=0.5, window=0), 100)[0] == 1.0


def test_banned_tokens_are_never_drawn_even_at_the_edges():
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf, 1.0, -torch.inf]])
    edges = torch.tensor([[0.0, 0.0], [1 - 1e-16, 1 - 1e-16]], dtype=torch.float64)
    for history in (torch.full((2, 0), -1), torch.tensor([[1], [3]])):
        tokens = sample(logits.expand(2, -1), history, edges, Sampling(top_p=1.0))
        assert set(tokens.tolist()) <= {1, 3}


def test_a_certain_token_may_repeat():
    logits = torch.tensor([[-torch.inf, 1.0]])
    tokens = sample(logits, torch.tensor([[1]]), torch.rand(1, 2), Sampling())
    assert tokens.tolist() == [1]


def test_temperature_sharpens():
    logits = torch.tensor([[1.0, 0.0]])
    cold = draws(logits, NO_HISTORY, Sampling(top_p=1.0, temperature=0.1))
    assert abs(cold[0] - torch.softmax(logits[0] / 0.1, -1)[0]) < 0.01


@pytest.mark.parametrize("window", [0, 10])
def test_a_gpu_draws_what_a_cpu_draws_without_looking(window):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(64, 20, generator=generator)
    logits[5, 3], logits[9] = float("nan"), float("-inf")
    history = torch.randint(-1, 20, (64, 10), generator=generator)
    uniforms = torch.rand(64, 2, generator=generator, dtype=torch.float64)
    given = (logits, history, uniforms, Sampling(window=window))
    expected = sample(*given)
    assert torch.equal(_sample(*given, look=False), expected)
    assert (expected == NOTHING).nonzero().flatten().tolist() == [5, 9]


def test_rows_are_independent():
    g = torch.Generator().manual_seed(1)
    logits = torch.randn(5, 40, generator=g)
    history = torch.randint(0, 40, (5, 10), generator=g)
    uniforms = torch.rand(5, 2, generator=g, dtype=torch.float64)
    together = sample(logits, history, uniforms, Sampling())
    alone = [
        sample(logits[i : i + 1], history[i : i + 1], uniforms[i : i + 1], Sampling())
        for i in range(5)
    ]
    assert together.tolist() == torch.cat(alone).tolist()


@pytest.mark.parametrize(
    "logits", [[float("nan"), 0.0], [-torch.inf, -torch.inf], [torch.inf, 0.0]]
)
def test_a_row_that_cannot_be_drawn_leaves_the_others_alone(logits):
    sound = torch.tensor([0.3, 1.2])
    uniforms = torch.rand(3, 2, generator=torch.Generator().manual_seed(0))
    whole = torch.stack((sound, torch.tensor(logits), sound))
    drawn = sample(whole, NO_HISTORY.expand(3, -1), uniforms, Sampling(top_p=1.0))
    alone = sample(whole[[0, 2]], NO_HISTORY.expand(2, -1), uniforms[[0, 2]], Sampling(top_p=1.0))
    assert drawn.tolist() == [int(alone[0]), NOTHING, int(alone[1])]


@pytest.mark.parametrize(
    "bad", [{"top_p": 0.0}, {"top_p": 1.1}, {"top_k": 0}, {"window": -1}, {"temperature": 0.0}]
)
def test_meaningless_settings_are_named(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Sampling(**bad)
