"""Steps of training by plan, at tiny sizes."""

import json
import sys

import pytest

from eval.store.files import InputError
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import save_lm
from mamtra.lm.speech_lm import SpeechLM
from tools import bench_training
from tools.bench_training import measure_training


@pytest.fixture
def small(tmp_path):
    sizes = BackboneSizes(16, 4, 2, 1, 8, 16)
    return str(save_lm(tmp_path / "t", SpeechLM(sizes, ("attention",) * 4, 9, 12), {}))


def test_every_plan_has_its_row_and_file(tmp_path, small, monkeypatch):
    words = [f"like={small}", "plans=1to0,1to3", "rows=2", "positions=16", "rounds=3"]
    monkeypatch.setattr(sys, "argv", ["bench_training", f"out={tmp_path / 'out'}", *words])
    bench_training.main()
    content = json.loads((tmp_path / "out" / "training.json").read_text())
    assert [row["plan"] for row in content["rows"]] == ["1to0", "1to3"]
    teacher, hybrid = content["rows"]
    assert hybrid["weight_bytes"] > teacher["weight_bytes"] and teacher["peak_bytes"] is None
    for row in content["rows"]:
        assert 0 < row["step_s_low"] <= row["step_s"] <= row["step_s_high"]
        assert row["positions_per_s"] == pytest.approx(32 / row["step_s"])


def test_bad_input_is_named(small):
    options = {"rows": 1, "positions": 16, "rounds": 3}
    with pytest.raises(InputError, match="rounds=2"):
        measure_training(small, ["1to0"], **options | {"rounds": 2})
    with pytest.raises(InputError, match="plans=1to9: unknown ratio"):
        measure_training(small, ["1to9"], **options)
