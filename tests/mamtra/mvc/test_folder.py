import json

import pytest
import torch

from mamtra.model_folder import CheckpointError
from mamtra.mvc.arms import ARMS
from mamtra.mvc.folder import load_mvc, read_mvc, save_mvc
from mamtra.mvc.voice import Voices


@pytest.mark.parametrize("arm", ARMS)
def test_a_model_comes_back_whole(make, tmp_path, arm):
    model = make(arm)
    save_mvc(tmp_path / "mvc", model, {"note": 1})
    found = load_mvc(tmp_path / "mvc")
    assert found.arm == arm and found.sizes == model.sizes and not found.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
    described = read_mvc(tmp_path / "mvc")
    assert 0 < described["conditioning_parameters"] < described["parameters"]


def test_half_precision_still_speaks(make, tmp_path, voices):
    save_mvc(tmp_path / "mvc", make("mvc"), {}, "fp16")
    spoken = load_mvc(tmp_path / "mvc").speak([[1, 2, 3]], Voices(voices.embedding[:1]), [0], 2)
    assert torch.isfinite(spoken.frames[0]).all()


def spoil(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arm": "rnn"}, "no arm is called 'rnn'; valid: mvc"),
        ({"arm": "conv"}, "missing tensor"),
        ({"format": "mamtra-speech-lm-1"}, "format mamtra-mvc-1"),
        ({"sizes": {"vocab": 3}}, "missing or unknown d_model"),
        ({"sha256": "0"}, "sha256"),
    ],
)
def test_a_description_that_does_not_fit_is_named(make, tmp_path, changes, message):
    save_mvc(tmp_path / "mvc", make("mvc"), {})
    spoil(tmp_path / "mvc", **changes)
    with pytest.raises(CheckpointError, match=message):
        load_mvc(tmp_path / "mvc")


def test_truncated_files_and_weights_that_are_not_finite_are_named(make, tmp_path):
    model = make("mvc")
    save_mvc(tmp_path / "mvc", model, {})
    weights = tmp_path / "mvc" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not a safetensors checkpoint"):
        load_mvc(tmp_path / "mvc")
    (tmp_path / "mvc" / "model.json").write_text('{"format": "mamtra-')
    with pytest.raises(CheckpointError, match="not readable as JSON"):
        load_mvc(tmp_path / "mvc")
    with torch.no_grad():
        model.rhythm.duration.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"rhythm\.duration\.bias is not finite"):
        save_mvc(tmp_path / "other", model, {})
    assert not (tmp_path / "other").exists()
