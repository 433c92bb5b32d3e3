"""The alignment score on attention whose path is known, against every path there is, and on a teacher."""

import itertools

import pytest
import torch

from mamtra.backbone.layer_plan import layer_plan
from mamtra.lm.sequence import IGNORE, KIND_TEXT
from mamtra.lm.speech_lm import SpeechLM
from mamtra.transfer.measure_alignment import alignment_samples, best_path


def every_path(weights, farthest=1):
    """The same by trying all."""
    n_speech, n_text = weights.shape
    totals = [
        sum(float(weights[t, place]) for t, place in enumerate(path))
        for path in itertools.combinations_with_replacement(range(n_text), n_speech)
        if path[0] == 0 and path[-1] == n_text - 1
        if all(b - a <= farthest for a, b in itertools.pairwise(path))
    ]
    return max(totals)


@pytest.mark.parametrize(
    ("shape", "farthest"), [((7, 4), 1), ((4, 4), 1), ((6, 1), 1), ((1, 1), 1), ((4, 7), 2)]
)
def test_the_best_of_all_paths(shape, farthest):
    weights = torch.rand(5, *shape, generator=torch.Generator().manual_seed(0)).double()
    expected = torch.tensor([every_path(one, farthest) for one in weights]).double()
    torch.testing.assert_close(best_path(weights), expected)


def test_a_diagonal_scores_what_it_holds_and_other_pictures_less():
    steps, text = 24, 8
    place = torch.arange(steps) * text // steps
    diagonal = 0.9 * torch.nn.functional.one_hot(place, text).double()
    assert best_path(diagonal[None]).item() == pytest.approx(0.9 * steps)
    backwards, even = diagonal.flip(1), torch.full_like(diagonal, 1 / text)
    sink = torch.zeros_like(diagonal)
    sink[:, 3] = 0.9
    scores = best_path(torch.stack([diagonal, backwards, even, sink])) / steps
    assert scores[0] > 0.89 and scores[2] == pytest.approx(1 / text)
    assert scores[1] < 0.5
    # To the sink and away from it: all steps there but those that the way takes.
    assert scores[3] == pytest.approx(0.9 * (steps - text + 1) / steps)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 2)])
def test_no_path_is_an_error(shape):
    with pytest.raises(ValueError, match="no path through"):
        best_path(torch.zeros(1, *shape))


def test_the_best_head_of_the_layer_that_aligns(teacher, batch, monkeypatch):
    """Layer 2's head 4 is made to look at the text as a diagonal; everything else is left as it is."""
    lengths = (batch.kinds == KIND_TEXT).sum(dim=1)
    diagonal = torch.full((*batch.ids.shape, batch.ids.shape[1]), 1e-9)
    for row, targets in enumerate(batch.targets):
        spoken = (targets != IGNORE).nonzero()[:-1, 0]
        for t, position in enumerate(spoken):
            diagonal[row, position, 1 + t * int(lengths[row]) // len(spoken)] = 0.8
    mixer = teacher.backbone.layers[2].mixer
    usual = mixer.log_attention
    monkeypatch.setattr(
        mixer,
        "log_attention",
        lambda x, c, head: diagonal.log() if head == 4 else usual(x, c, head),
    )
    samples, heads = alignment_samples(teacher, [batch, batch])
    assert samples.counts.tolist() == [40, 25] * 2
    assert heads[2] == 4 and samples.sums.shape == (4, 4)
    assert samples.scores[2] == pytest.approx(0.8, abs=1e-6)
    assert max(samples.scores) == samples.scores[2]
    assert all(0 < score < 0.5 for layer, score in enumerate(samples.scores) if layer != 2)


def test_what_cannot_be_measured_is_an_error(teacher, batch):
    with pytest.raises(ValueError, match="no sequence"):
        alignment_samples(teacher, [])
    hybrid = SpeechLM(teacher.sizes, layer_plan(4, "1:1", "front"), 20, 30)
    with pytest.raises(ValueError, match="the teacher has mamba"):
        alignment_samples(hybrid, [batch])
