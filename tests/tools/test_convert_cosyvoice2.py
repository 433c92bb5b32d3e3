"""Upstream's llm.pt -> our model folder -> upstream's form again."""

import pytest
import torch

from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import CheckpointError, load_lm, read_description, save_lm
from mamtra.transfer.cosyvoice2 import MAMBA_FILE, read_llm_pt, read_upstream
from mamtra.transfer.student import build_student
from tools import convert_cosyvoice2 as module
from tools.fake_cosyvoice2 import write_fake_llm

SMALL = BackboneSizes(
    d_model=16, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=16, rope_theta=1e6
)


@pytest.fixture
def llm(tmp_path, monkeypatch):
    """A small llm.pt, and the tool told of its size."""
    torch.manual_seed(0)
    write_fake_llm(tmp_path, SMALL, text_vocab=32)
    monkeypatch.setattr(module, "load_teacher", lambda path: read_llm_pt(path, SMALL))
    return tmp_path / "llm.pt"


def test_the_teacher_becomes_a_model_folder(llm, tmp_path):
    found = load_lm(module.convert(llm, tmp_path / "teacher"))
    for name, value in read_llm_pt(llm, SMALL).state_dict().items():
        assert torch.equal(found.state_dict()[name], value)
    provenance = read_description(tmp_path / "teacher")["provenance"]
    assert provenance["source"] == "llm.pt" and len(provenance["source_sha256"]) == 64


@pytest.mark.parametrize("plan", [("attention", "mamba"), ("window", "mamba")])
def test_a_student_becomes_upstreams_two_files(plan, llm, tmp_path):
    student, _ = build_student(read_llm_pt(llm, SMALL), plan, "paper", None, window=7)
    save_lm(tmp_path / "student", student, {})
    out = module.convert(tmp_path / "student", tmp_path / "up")
    assert {path.name for path in out.iterdir()} == {"llm.pt", MAMBA_FILE}
    assert read_upstream(out, SMALL).plan == plan and read_upstream(out, SMALL).sizes.window == 7
    back = read_upstream(out, SMALL).state_dict()
    assert all(torch.equal(back[name], value) for name, value in student.state_dict().items())


def test_what_cannot_be_converted(llm, tmp_path, monkeypatch):
    with pytest.raises(FileExistsError, match="is not empty"):
        module.convert(llm, tmp_path)
    with pytest.raises(CheckpointError):
        module.convert(tmp_path / "none.pt", tmp_path / "a")
    monkeypatch.setattr("sys.argv", ["x", f"model={tmp_path / 'none'}", f"out={tmp_path / 'b'}"])
    with pytest.raises(SystemExit, match="error: "):
        module.main()
