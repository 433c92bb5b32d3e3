"""Random models for measuring speed: sizes of another model, and no doubt about what they are."""

import pytest
import torch

from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import load_lm, read_description, save_lm
from mamtra.lm.speech_lm import SpeechLM
from tools.random_lm import write_random_lm


def test_a_random_model_has_the_sizes_of_another_and_says_what_it_is(tmp_path):
    sizes = BackboneSizes(16, 4, 2, 1, 8, 16, text_rate=0.5)
    save_lm(tmp_path / "teacher", SpeechLM(sizes, ("attention",) * 4, 9, 12), {})
    like = str(tmp_path / "teacher")
    folder = write_random_lm(like, "1to3", tmp_path / "random", "blockbeg", "bf16")
    model = load_lm(folder)
    assert model.sizes == sizes and (model.text_vocab, model.speech_vocab) == (9, 12)
    assert model.plan == ("attention", "mamba", "mamba", "mamba")
    assert not torch.equal(model.speech_embedding.weight, load_lm(like).speech_embedding.weight)
    assert read_description(folder)["provenance"]["weights"] == "random"
    with pytest.raises(ValueError, match="unknown ratio"):
        write_random_lm(like, "1to9", tmp_path / "other", "blockbeg", "bf16")
