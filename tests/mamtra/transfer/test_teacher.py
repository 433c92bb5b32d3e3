"""A teacher is told apart by its path, in one place."""

from pathlib import Path

import pytest
import torch

from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import CheckpointError, save_lm
from mamtra.lm.speech_lm import SpeechLM
from mamtra.transfer import teacher as module
from mamtra.transfer.teacher import count_layers, is_upstream, load_teacher


def test_a_folder_is_ours(tmp_path):
    sizes = BackboneSizes(d_model=16, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=16)
    model = SpeechLM(sizes, ("attention", "mamba"), 9, 5)
    save_lm(tmp_path / "teacher", model, {})
    assert not is_upstream(tmp_path / "teacher") and count_layers(tmp_path / "teacher") == 2
    loaded = load_teacher(tmp_path / "teacher").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())


def test_a_pt_file_is_upstreams(monkeypatch):
    path = Path("models/CosyVoice2-0.5B/llm.pt")
    assert is_upstream(path) and count_layers(path) == 24  # the file need not be there
    monkeypatch.setattr(module, "read_llm_pt", lambda path: ("upstream", path))
    assert load_teacher(path) == ("upstream", path)


def test_a_folder_without_a_model_is_named(tmp_path):
    for read in (load_teacher, count_layers):
        with pytest.raises(CheckpointError, match=r"nowhere/model\.json: no such file"):
            read(tmp_path / "nowhere")
