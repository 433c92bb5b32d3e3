"""Forced alignment of characters to speech tokens."""

import pytest
import torch

from mamtra.speech.recogniser import CTC_FRAMES, Recogniser, align


def emission(path: list[int], n_labels: int = 4) -> torch.Tensor:
    """Log-probabilities that leave no doubt about `path`."""
    return torch.nn.functional.one_hot(torch.tensor(path), n_labels).mul(9.0).log_softmax(-1)


def test_a_token_speaks_the_letter_whose_peak_is_nearest():
    blank = 3
    # Letters 0, 1, 1 peak at frames 1, 6 and 8: borders at 3.5 and 7; token middles 0.5, 2.5, ..., 10.5
    path = [blank, 0, 0, blank, blank, blank, 1, blank, 1, blank, blank, blank]
    found = align(emission(path), torch.tensor([0, 1, 1]))
    assert found.tolist() == [0, 0, 1, 1, 2, 2]


def test_every_token_gets_a_letter_in_order():
    torch.manual_seed(0)
    log_probs = torch.randn(40, 6).log_softmax(-1)
    found = align(log_probs, torch.tensor([0, 2, 2, 4]))
    assert len(found) == 40 // CTC_FRAMES
    assert (found.diff() >= 0).all() and 0 <= found.min() <= found.max() < 4


@pytest.mark.parametrize(("text", "frames"), [([], 4), ([0, 1, 2], 2), ([1, 1, 1], 4)])
def test_a_text_that_does_not_fit_is_an_error(text, frames):
    with pytest.raises(ValueError, match=f"{len(text)} characters do not fit {frames} CTC frames"):
        align(emission([3] * frames), torch.tensor(text, dtype=torch.long))


def test_the_recogniser_gives_two_distributions_a_token():
    recogniser = Recogniser(n_codes=4, vocab_size=30, width=8)
    log_probs = recogniser(torch.zeros(2, 7, 4), torch.ones(2, 7))
    assert log_probs.shape == (2, 7 * CTC_FRAMES, 31)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(2, 14))
