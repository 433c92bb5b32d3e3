"""make bench at tiny sizes: every table runs, and its rows say plan, dtype, batch and their peers."""

import json
from pathlib import Path

import pytest

from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import save_lm
from mamtra.lm.speech_lm import SpeechLM
from tools import bench

N_LAYERS = 12  # the fewest that 1:11 divides


@pytest.fixture
def small(tmp_path):
    sizes = BackboneSizes(16, N_LAYERS, 2, 1, 8, 16)
    return str(save_lm(tmp_path / "t", SpeechLM(sizes, ("attention",) * N_LAYERS, 9, 1000), {}))


@pytest.mark.parametrize("name", bench.TABLES)
def test_every_table_runs(tmp_path, small, name, monkeypatch):
    # That compiled steps are plain ones is a test of the engine, and takes a minute for each model.
    monkeypatch.setattr(SpeechLM, "compile_steps", lambda model: None)
    table, more = bench.TABLES[name], bench.QUICK | {"n_tokens": "3", "vocode": "false"}
    table = bench.Table(small, table.baseline, table.settings)
    bench.measure_table(table, tmp_path / "models", tmp_path / name, more)
    content = json.loads((tmp_path / name / "efficiency.json").read_text())
    systems = {row["system"] for row in content["rows"]}
    assert {system.split()[0] for system in systems} - {"transformers"} == set(bench.PLANS)
    assert content["baseline"] in systems
    peers = sum(system.startswith("transformers") for system in systems)
    assert peers == len(content["settings"]["peers"]) * len(content["settings"]["dtypes"])
    assert all(row["limit_tokens_per_s"] > 0 for row in content["rows"])
    assert (tmp_path / "models/mini-1to11/model.json").is_file()


@pytest.mark.parametrize("found", [True, False])
def test_a_table_that_cannot_be_made_is_left_out_and_said(found, monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda name: "/bin/" + name if found else None)
    assert ("compiled" in bench.usual("cpu")) is found
    assert "graphs" not in bench.usual("cpu")
    assert ("compiled: left out, no C++ compiler" in capsys.readouterr().out) is not found


def test_a_machines_name_is_a_folders_name():
    assert bench.machine_name("cpu").replace("-", "").isalnum()


def test_a_gpu_names_its_own_folder_and_computes_in_bf16(monkeypatch):
    said = {"device": "NVIDIA H100 80GB HBM3", "processor": "Intel(R) Xeon(R)", "torch_threads": 8}
    monkeypatch.setattr(bench, "device_description", lambda device: said)
    monkeypatch.setattr(bench, "emulated", lambda device, dtype: device == "cpu")
    assert bench.machine_name("cuda:0") == "NVIDIA-H100-80GB-HBM3"
    assert {"graphs", "dtype"} <= set(bench.usual("cuda:0"))
    asked = []
    monkeypatch.setattr(bench, "run_efficiency", lambda s, console: asked.append(s))
    monkeypatch.setattr(bench, "models_of", lambda like, folder: {"1to0": "x"})
    for name in ("context", "mini"):
        bench.measure_table(bench.TABLES[name], Path("models"), Path("out"), {"device": "cuda:0"})
    assert [(s.device, s.dtypes) for s in asked] == [("cuda:0", ["bf16"]), ("cuda:0", ["fp32"])]


def test_a_device_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr("sys.argv", ["bench", "device=gpu"])
    with pytest.raises(SystemExit, match=r"error: device=gpu: .*; device=cpu always works"):
        bench.main()
