"""Pieces of the codec's training that need no corpus."""

import pytest
import torch

from lightning_modules.codec import stretch_frequency
from mamtra.speech.features import SAMPLE_RATE_HZ, log_mel
from mamtra.speech.recogniser import PhoneRecogniser, per_phone_weights


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_a_stretch_moves_a_tone_to_its_new_frequency(factor):
    seconds = torch.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
    tones = [log_mel(torch.sin(2 * torch.pi * hz * seconds)) for hz in (1500.0, 1500.0 * factor)]
    stretched = stretch_frequency(tones[0][None], torch.tensor([factor]))[0]
    assert abs(int(stretched[20].argmax()) - int(tones[1][20].argmax())) <= 1
    if factor == 1.0:
        torch.testing.assert_close(stretched, tones[0], atol=1e-4, rtol=0)


def test_every_phoneme_counts_the_same_however_long_it_is():
    phones = torch.tensor([[4, 4, 4, 2, -1, -1], [2, 2, 2, 2, 2, 2]])
    expected = torch.tensor([[1 / 3, 1 / 3, 1 / 3, 1, 0, 0], [1 / 6] * 6])
    torch.testing.assert_close(per_phone_weights(phones), expected)


def test_phonemes_are_recognised_from_two_tokens_to_either_side():
    torch.manual_seed(0)
    recogniser = PhoneRecogniser(4, 3, width=8).eval()
    codes, mask = torch.randn(1, 9, 4), torch.ones(1, 9)
    other = codes.clone()
    other[:, 4] += 1
    changed = (recogniser(codes, mask) - recogniser(other, mask)).abs().sum(-1)[0] > 0
    assert changed.unflatten(0, (9, 4)).all(1).tolist() == [2 <= t <= 6 for t in range(9)]
