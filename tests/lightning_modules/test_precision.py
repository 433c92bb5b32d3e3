"""`precision: auto` follows the hardware and is part of a run's identity."""

import pytest
import torch

import tasks
from lightning_modules import precision
from lightning_modules.precision import resolve_precision


@pytest.mark.parametrize(
    "bf16, amx, wanted", [(1, 0, "bf16-mixed"), (0, 1, "bf16-mixed"), (0, 0, "32-true")]
)
def test_auto_is_bfloat16_only_where_the_processor_multiplies_it(monkeypatch, bf16, amx, wanted):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bool(bf16))
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: bool(amx))
    assert resolve_precision("auto", "cpu") == wanted
    assert resolve_precision("bf16-mixed", "cpu") == "bf16-mixed"


@pytest.mark.parametrize("group", ["trainer", "training"])
def test_what_was_decided_is_what_the_run_is_told_apart_by(monkeypatch, group, capsys):
    monkeypatch.setattr(precision, "has_bfloat16", lambda accelerator: accelerator == "gpu")
    for accelerator, wanted in (("cpu", "32-true"), ("gpu", "bf16-mixed")):
        plain = {group: {"precision": "auto", "accelerator": accelerator}, "steps": 3}
        decided = precision.with_precision(plain)
        assert tasks.identity(decided)[group]["precision"] == wanted
        assert plain[group]["precision"] == "auto", "the caller's own is left alone"
        assert f"precision: {wanted}" in capsys.readouterr().out
    stated = {group: {"precision": "16-mixed", "accelerator": "gpu"}}
    assert precision.with_precision(stated) == stated
