"""The alignment teacher against plain enumeration, and that no model's export holds it."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import betabinom
from torch.nn.utils.rnn import pad_sequence

from mamtra.mvc.aligner import (
    Aligner,
    AlignerSizes,
    best_path,
    diagonal_prior,
    forward_sum,
    load_aligner,
    save_aligner,
)
from mamtra.mvc.arms import ARMS


def paths(n_frames: int, n: int):
    """Every split of `n_frames` into `n` runs of at least one frame."""
    for cuts in itertools.combinations(range(1, n_frames), n - 1):
        yield np.diff((0, *cuts, n_frames))


def log_p_of(durations, log_p) -> float:
    tokens = np.repeat(np.arange(len(durations)), durations)
    return float(log_p[np.arange(len(tokens)), tokens].sum())


@pytest.mark.parametrize(("n_frames", "n"), [(1, 1), (4, 4), (6, 3), (7, 2)])
def test_the_best_path_is_that_of_enumeration(n_frames, n):
    log_p = np.random.default_rng(n_frames).standard_normal((n_frames, n))
    best = max(paths(n_frames, n), key=lambda d: log_p_of(d, log_p))
    assert best_path(log_p).tolist() == best.tolist()


def test_fewer_frames_than_tokens_have_no_path():
    with pytest.raises(ValueError, match="2 frames cannot say 3 tokens"):
        best_path(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="row 1: 2 frames cannot say 3 tokens"):
        forward_sum(torch.zeros(2, 4, 3), torch.tensor([3, 3]), torch.tensor([4, 2]))


def test_forward_sum_is_the_sum_over_all_paths():
    log_p = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    sizes = [(6, 3), (5, 2)]
    wanted = []
    for row, (t, n) in zip(log_p, sizes, strict=True):
        each = [log_p_of(d, row.numpy()) for d in paths(t, n)]
        wanted.append(-math.log(sum(map(math.exp, each))) / t)
    found = forward_sum(log_p, torch.tensor([3, 2]), torch.tensor([6, 5]))
    assert float(found) == pytest.approx(np.mean(wanted), rel=1e-4)


def test_the_prior_is_beta_binomial():
    prior = diagonal_prior([3, 2], [5, 4], 5, 3)
    for row, (n, t) in enumerate([(3, 5), (2, 4)]):
        frame = np.arange(1, t + 1)[:, None]
        wanted = betabinom.logpmf(np.arange(n)[None], n - 1, frame, t + 1 - frame)
        np.testing.assert_allclose(prior[row, :t, :n].numpy(), wanted, atol=1e-4)
    assert float(prior[1, 4:].abs().sum()) == 0


def tiny() -> Aligner:
    torch.manual_seed(0)
    return Aligner(AlignerSizes(vocab=6, width=16)).eval()


@torch.no_grad()
def test_padding_changes_nothing():
    model, mel = tiny(), torch.randn(2, 9, 80)
    ids = torch.tensor([[1, 2, 3, 4], [5, 2, 0, 0]])
    both = model(ids, torch.tensor([4, 2]), mel, torch.tensor([9, 6]))
    alone = model(ids[1:, :2], torch.tensor([2]), mel[1:, :6], torch.tensor([6]))
    torch.testing.assert_close(both[1, :6, :2], alone[0], rtol=1e-4, atol=1e-4)


def test_it_learns_which_token_each_frame_says():
    """Eight sentences of five words in other orders: one alone would not say where its borders are."""
    model, generator = tiny().train(), torch.Generator().manual_seed(1)
    patterns = torch.randn(6, 80, generator=generator)
    ids = torch.stack([1 + torch.randperm(5, generator=generator)[:4] for _ in range(8)])
    durations = torch.randint(2, 7, (8, 4), generator=generator)
    lengths = durations.sum(dim=1)
    said = [row.repeat_interleave(n) for row, n in zip(ids, durations, strict=True)]
    mel = patterns[pad_sequence(said, batch_first=True)]
    counts = torch.full((8,), 4), lengths
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(80):
        optimiser.zero_grad()
        forward_sum(model(ids, counts[0], mel, counts[1]), *counts).backward()
        optimiser.step()
    with torch.no_grad():
        scores = model(ids, counts[0], mel, counts[1])
    found = [best_path(row[:n].numpy()) for row, n in zip(scores, lengths.tolist(), strict=True)]
    off = np.abs(np.cumsum(found, axis=1) - durations.cumsum(1).numpy())
    assert off.mean() < 0.7


def test_an_aligner_comes_back_whole_and_no_model_holds_one(make, tmp_path):
    model = tiny()
    save_aligner(tmp_path / "aligner", model, {})
    found = load_aligner(tmp_path / "aligner").state_dict()
    assert all(torch.equal(found[name], t) for name, t in model.state_dict().items())
    for arm in ARMS:
        assert not [name for name in make(arm).state_dict() if "align" in name]
        assert not [m for m in make(arm).modules() if isinstance(m, Aligner)]
