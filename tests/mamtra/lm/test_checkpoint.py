"""Saving and loading: equality, precision, atomicity, and every kind of damage by name."""

import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from mamtra.lm.checkpoint import DESCRIPTION, WEIGHTS, CheckpointError, load_lm, save_lm


@pytest.fixture
def folder(model, tmp_path):
    return save_lm(tmp_path / "student", model, {"teacher": "random", "step": 3})


def test_round_trip_is_exact(model, folder):
    loaded = load_lm(folder)
    assert loaded.plan == model.plan and loaded.sizes == model.sizes
    assert not loaded.training
    for (name, a), (other, b) in zip(
        model.state_dict().items(), loaded.state_dict().items(), strict=True
    ):
        assert name == other and torch.equal(a, b)
    description = json.loads((folder / DESCRIPTION).read_text())
    assert description["provenance"] == {"teacher": "random", "step": 3}
    assert sorted(p.name for p in folder.iterdir()) == [DESCRIPTION, WEIGHTS]
    assert [p.name for p in folder.parent.iterdir()] == ["student"]


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp16", 2e-3), ("bf16", 1e-2)])
def test_half_precision_loads_as_fp32(model, tmp_path, dtype, tolerance):
    folder = save_lm(tmp_path / "half", model, {}, dtype)
    full = save_lm(tmp_path / "full", model, {})
    assert (folder / WEIGHTS).stat().st_size < 0.7 * (full / WEIGHTS).stat().st_size
    for name, tensor in load_lm(folder).state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=tolerance, atol=1e-6)


def test_a_model_loads_in_half_precision_with_its_decay_in_full(model, folder):
    loaded = load_lm(folder, dtype="bf16")
    for name, tensor in loaded.state_dict().items():
        wide = name.endswith(("dt_proj.weight", "dt_bias", "a_log"))
        assert tensor.dtype == (torch.float32 if wide else torch.bfloat16), name
    assert loaded.dtype == torch.bfloat16 and loaded.new_state(1, 4).layers[0].num_bytes() > 0
    ids, kinds = torch.tensor([[3, 4, 5]]), torch.full((1, 3), 2, dtype=torch.int8)
    with torch.no_grad():
        exact = model(model.embed(ids, kinds)).logits
        rough = loaded(loaded.embed(ids, kinds)).logits
    # bf16 has 8 bits: each of a few dozen roundings is 2^-9 of the value, and they add like noise.
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.05 * float(exact.abs().max()), rtol=0)
    with pytest.raises(ValueError, match="unknown dtype 'int3'"):
        load_lm(folder, dtype="int3")


def test_a_model_from_before_a_size_was_added_has_its_default(model, folder):
    path = folder / DESCRIPTION
    description = json.loads(path.read_text())
    for name in ("text_rate", "mamba_rope", "chunk", "window"):
        del description["sizes"][name]
    path.write_text(json.dumps(description))
    loaded = load_lm(folder)
    assert loaded.sizes == replace(model.sizes, text_rate=0.0, mamba_rope=False, chunk=64)
    assert torch.equal(loaded.llm_decoder.weight, model.llm_decoder.weight)


def test_saving_again_replaces_the_model_and_keeps_other_files(model, folder):
    (folder / "curves.csv").write_text("kept")
    with torch.no_grad():
        model.llm_decoder.bias.fill_(7.0)
    save_lm(folder, model, {"step": 4})
    assert bool((load_lm(folder).llm_decoder.bias == 7).all())
    assert (folder / "curves.csv").read_text() == "kept"


def test_a_failed_save_leaves_the_old_model(model, folder):
    with torch.no_grad():
        model.llm_decoder.bias[0] = float("nan")
    with pytest.raises(ValueError, match=r"llm_decoder\.bias is not finite"):
        save_lm(folder, model, {})
    with pytest.raises(TypeError):
        save_lm(folder, load_lm(folder), {"not": object()})
    assert bool(torch.isfinite(load_lm(folder).llm_decoder.bias).all())
    assert [p.name for p in folder.parent.iterdir()] == ["student"]


def test_values_too_large_for_half_precision_are_not_written(model, tmp_path):
    with torch.no_grad():
        model.llm_decoder.bias[0] = 1e6
    with pytest.raises(ValueError, match="not finite in fp16"):
        save_lm(tmp_path / "big", model, {}, "fp16")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="fp32, bf16, fp16"):
        save_lm(tmp_path / "big", model, {}, "int8")


def damaged(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.pop("backbone.norm.weight"), r"missing tensor backbone\.norm\.weight"),
        (lambda t: t.update(extra=torch.zeros(1)), "unexpected tensor extra"),
        (
            lambda t: t.update({"llm_decoder.bias": torch.zeros(5)}),
            r"llm_decoder\.bias has shape \(5,\), the model needs \(33,\)",
        ),
        (
            lambda t: t["llm_decoder.bias"].fill_(float("inf")),
            r"llm_decoder\.bias holds values that are not finite",
        ),
        (lambda t: t["llm_decoder.bias"].add_(1.0), "sha256"),
    ],
)
def test_wrong_tensors_are_named_with_the_file(folder, change, text):
    damaged(folder, change)
    with pytest.raises(CheckpointError, match=text) as error:
        load_lm(folder)
    assert str(folder / WEIGHTS) in str(error.value)


def test_files_that_are_not_checkpoints(folder, tmp_path):
    with pytest.raises(CheckpointError, match="not a model folder"):
        load_lm(tmp_path / "nowhere")
    (folder / WEIGHTS).write_bytes(b"PK\x03\x04 something else entirely")
    with pytest.raises(CheckpointError, match="not a safetensors checkpoint"):
        load_lm(folder)
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(CheckpointError, match="git-lfs pointer"):
        load_lm(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: no such file"):
        load_lm(folder)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: d.update(format="other"), "not a model description"),
        (lambda d: d.pop("plan"), "missing plan"),
        (lambda d: d["plan"].append("mamba"), "3 entries for 2 layers"),
        (lambda d: d["sizes"].pop("d_ff"), "sizes: missing d_ff"),
        (lambda d: d["sizes"].update(d_state=16), r"sizes: unknown d_state \(of a newer version"),
        (lambda d: d.update(sizes=[32]), "sizes must be an object"),
        (lambda d: d["sizes"].update(head_dim=7), "head_dim must be even"),
        (lambda d: d.update(text_vocab="many"), r"model\.json"),
    ],
)
def test_wrong_descriptions_name_the_file(folder, change, text):
    path = folder / DESCRIPTION
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match=text):
        load_lm(folder)
    path.write_text("{")
    with pytest.raises(CheckpointError, match="not readable as JSON"):
        load_lm(folder)


def test_others_may_read_a_model_as_the_umask_says(model, tmp_path):
    before = os.umask(0o022)
    try:
        folder = save_lm(tmp_path / "shared", model, {})
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
    assert modes == {"shared": 0o755, WEIGHTS: 0o644, DESCRIPTION: 0o644}
