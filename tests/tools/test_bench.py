"""make bench at tiny sizes: every table runs, and its rows say plan, dtype, batch and their peers."""

import json

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
    assert ("compiled" in bench.usual()) is found
    assert ("compiled: left out, no C++ compiler" in capsys.readouterr().out) is not found


def test_a_machines_name_is_a_folders_name():
    assert bench.machine_name().replace("-", "").isalnum()
