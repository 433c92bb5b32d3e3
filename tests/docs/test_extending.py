"""docs/extending.md is done, block by block, in a copy of the repository, and all of it is used there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.commands import FENCE, ROOT

COPIED = ("mamtra", "data", "lightning_modules", "settings", "eval", "studies", "tools", "configs")
USED = """
import json, sys
import numpy as np
from hydra import compose, initialize_config_dir
from mamtra.backbone.layer_plan import layer_plan, plan_letters
from eval.metrics.clip import Clip
from eval.metrics.registry import METRICS
from eval.testset import read_meta

found = {"plan": plan_letters(layer_plan(4, "1to1", "ends", mixer="soft"))}
metric = next(m for m in METRICS if m.name == "crossings")
wave = np.array([1.0, -1.0, -1.0, 1.0], np.float32)
found["metric"] = metric.build(None).score(type("C", (), {"wave": wave})())
with initialize_config_dir(sys.argv[1], version_base=None):
    config = compose("evaluate", overrides=["testset=two"])
found["testset"] = [item.utterance for item in read_meta(config.testset.meta)]
print(json.dumps(found))
"""


def additions(text: str) -> list[tuple[str, str | None, str]]:
    """(file, the line that it follows or None, code) of the document's blocks that name a file."""
    found = []
    for fence in FENCE.finditer(text):
        _, _, place = fence["language"].partition(" ")
        if place:
            path, _, after = place.partition(" after=")
            found.append((path, after or None, fence["code"]))
    return found


def add(folder: Path, path: str, after: str | None, code: str) -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    if after is None:
        before = file.read_text() if file.exists() else ""
        file.write_text(before + code)
        return
    lines = file.read_text().splitlines(keepends=True)
    (at,) = [i for i, line in enumerate(lines) if line.rstrip() == after]
    file.write_text("".join([*lines[: at + 1], code, *lines[at + 1 :]]))


@pytest.fixture
def extended(tmp_path):
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name)
    for file in ROOT.glob("*.py"):
        shutil.copy(file, tmp_path)
    shutil.copytree(ROOT / "assets/mini", tmp_path / "assets/mini")
    for addition in additions((ROOT / "docs/extending.md").read_text()):
        add(tmp_path, *addition)
    return tmp_path


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_kind_of_extension_has_its_blocks():
    files = {path for path, _, _ in additions((ROOT / "docs/extending.md").read_text())}
    kinds = (
        "placements.py",
        "losses.py",
        "mixers.py",
        "make_teacher.py",
        "registry.py",
        "testset/",
    )
    assert [kind for kind in kinds if not any(kind in path for path in files)] == []


@pytest.mark.slow
def test_what_extending_says_works(extended):
    found = json.loads(run(extended, "-c", USED, str(extended / "configs")).splitlines()[-1])
    assert found["plan"] == "ASSA"
    assert found["metric"] == {"crossings": pytest.approx(2 / 3)}
    assert found["testset"] == ["test-0000", "test-0001"]
    run(extended, "-m", "tools.make_teacher", "new_teacher")
    chosen = ("placement=ends", "mixer=soft", "objective=straight", "paths.teacher=new_teacher")
    settings = ("run=run", "steps=2", "batch.max_tokens=800", "trainer.val_every=2")
    run(extended, "train.py", "experiment=mini_distill", *chosen, *settings)
    description = json.loads((extended / "run/student/model.json").read_text())
    assert list(description["plan"]) == ["attention", "soft", "soft", "attention"]
    assert "straight" in (extended / "run/metrics.csv").read_text().splitlines()[0]
