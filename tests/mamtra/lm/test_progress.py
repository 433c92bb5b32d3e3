"""Progress features: positions, continuity between sequence and steps, and that they can be off."""

import pytest
import torch

from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.progress import progress_features, sinusoids, text_positions
from mamtra.lm.sequence import KIND_PAD, KIND_SPECIAL, KIND_SPEECH, KIND_TEXT, build_prompt
from mamtra.lm.speech_lm import SpeechLM
from tests.near import assert_near

SIZES = {"d_model": 16, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "head_dim": 8, "d_ff": 16}


def model(text_rate: float) -> SpeechLM:
    torch.manual_seed(0)
    sizes = BackboneSizes(**SIZES, text_rate=text_rate)
    return SpeechLM(sizes, ("attention", "mamba"), 10, 20).eval()


def test_text_counts_letters_and_speech_counts_tokens_times_the_rate():
    s, t, p = KIND_SPECIAL, KIND_TEXT, KIND_SPEECH
    kinds = torch.tensor([[s, t, t, t, s, p, p, KIND_PAD]], dtype=torch.int8)
    assert text_positions(kinds, 0, 0.5).tolist() == [[0, 0, 1, 2, 0, 0.5, 1.0, 0]]
    assert text_positions(kinds, torch.tensor([4]), 0.5)[0, 5:7].tolist() == [2.5, 3.0]


def test_features_match_where_text_and_speech_positions_match_and_vanish_elsewhere():
    kinds = torch.tensor([[KIND_TEXT] * 5 + [KIND_SPECIAL] + [KIND_SPEECH] * 4], dtype=torch.int8)
    features = progress_features(kinds, 0, 1.0, 64)[0]
    assert torch.equal(features[5], torch.zeros(64))
    likeness = features[6:] @ features[:5].T
    assert likeness.argmax(dim=1).tolist() == [1, 2, 3, 4]
    assert sinusoids(torch.zeros(1, 1), 8)[0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_steps_continue_the_sequence():
    lm = model(0.75)
    ids, kinds = build_prompt([1, 2, 3], [4, 5, 6, 7, 8])
    whole = lm.embed(ids[None], kinds[None])
    with torch.no_grad():
        full = lm(whole).logits
        _, state = lm.prefill(whole[:, :7], max_length=16)
        rest = lm.embed(ids[None, 7:], kinds[None, 7:], spoken=torch.tensor([2]))
        assert_near(rest, whole[:, 7:], 4)
        assert_near(lm.step(rest, state), full[:, 7:], 16)


def test_off_means_no_parameter_and_plain_lookups():
    lm = model(0.0)
    assert "progress_scale" not in lm.state_dict()
    ids, kinds = build_prompt([1, 2, 3], [4])
    embeds = lm.embed(ids[None], kinds[None], spoken=9)
    assert torch.equal(embeds[0, 1], lm.text_embedding.weight[1])


def test_negative_rate_is_an_error():
    with pytest.raises(ValueError, match="text_rate"):
        BackboneSizes(**SIZES, text_rate=-1.0)
