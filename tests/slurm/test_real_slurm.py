"""train.py on a real SLURM: a grid, a cell of two processes, preemption, requeue, a drained node."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.slurm import local_slurm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(local_slurm.missing() is not None, reason=str(local_slurm.missing())),
]
ROOT = Path(__file__).parents[2]
WAIT_S = 3600.0  # only a test that hangs waits so long
SHORT = ("trainer.precision=32-true", "trainer.val_every=10", "trainer.log_every=1")
SHORT += ("batch.max_tokens=120", "init=calibrated")


class Slurm:
    """Commands to a running SLURM, with its jobs' environment."""

    def __init__(self, conf: Path):
        # Ranks of a job on one machine meet at the loopback address.
        more = {"SLURM_CONF": str(conf), "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        self.environment = os.environ | more

    def __call__(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def job(self, name: str) -> dict[str, str]:
        """What SLURM knows of a job."""
        words = self("scontrol", "show", "job", "--oneliner", name).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def node(self, state: str) -> None:
        where = f"nodename={local_slurm.node_name()}"
        self("scontrol", "update", where, f"state={state}", "reason=test")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    conf = local_slurm.start(folder)
    yield Slurm(conf)
    local_slurm.stop(folder)


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.2)


def rows(metrics: Path) -> int:
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def saved_step(run: Path) -> int:
    state = torch.load(run / "checkpoints/last.ckpt", weights_only=True, mmap=True)
    return state["global_step"]


def grid_command(world: Path, folder: Path, *more: str) -> list[str]:
    evaluate = {
        "testset.meta": f"{world}/meta.lst",
        "testset.tokens": f"{world}/tokens.parquet",
        "system.codec": world,
        "batch": 2,
        "cache": f"{folder.parent}/cache",
        "mos": "null",
        "speaker": "null",
    }
    return [
        *(sys.executable, str(ROOT / "train.py"), "-m", "experiment=mini_grid", *SHORT),
        *(f"++cell.evaluate.{key}={value}" for key, value in evaluate.items()),
        *(f"paths.assets={world}", f"run={folder}", "cell.mix=true", *more),
    ]


def curves(path: Path) -> pd.DataFrame:
    return pd.read_csv(path).drop(columns=["elapsed_s", "tokens_per_s"])


def test_a_grid_has_the_table_of_a_plain_run(slurm, tiny_world, tmp_path):
    cells = ("ratio=1to1", "placement=front,blockbeg", "steps=2")
    for name, more in (("plain", ()), ("jobs", ("hydra/launcher=slurm_cpu",))):
        command = grid_command(tiny_world, tmp_path / name, *cells, *more)
        done = subprocess.run(
            command, env=slurm.environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    plain, jobs = (pd.read_csv(tmp_path / name / "grid.csv") for name in ("plain", "jobs"))
    assert jobs["status"].tolist() == ["done", "done"]
    same = ["ratio", "placement", "plan", "work", "wer_corpus", "val_ce", "val_logits", "ce"]
    pd.testing.assert_frame_equal(jobs[same], plain[same], rtol=1e-4)


def test_a_cell_of_two_processes_is_preempted_waits_for_its_node_and_ends_the_same(
    slurm, tiny_world, tmp_path
):
    grid = tmp_path / "grid"
    cell = ("ratio=1to1", "placement=front", "steps=300", "trainer.devices=2")
    command = grid_command(tiny_world, grid, *cell, "trainer.strategy=ddp")
    with (tmp_path / "launcher.log").open("w") as log:
        launcher = subprocess.Popen(
            [*command, "hydra/launcher=slurm_cpu"],
            env=slurm.environment,
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )

    def run() -> Path:
        return next((one for one in grid.glob("works/*/run")), grid)

    wait_for(lambda: rows(run() / "metrics.csv") > 6 or launcher.poll() is not None)
    assert launcher.poll() is None, (tmp_path / "launcher.log").read_text()
    name = slurm("squeue", "--noheader", "--format=%i").strip()
    assert slurm.job(name)["NumTasks"] == "2"
    slurm.node("drain")
    slurm("scancel", "--signal=USR1", name)
    wait_for(lambda: slurm.job(name)["JobState"] == "PENDING")
    stopped_at = saved_step(run())
    assert 6 <= stopped_at < 300 and not (run() / "student").exists()
    time.sleep(2 * local_slurm.CRED_EXPIRE_S)
    assert slurm.job(name)["JobState"] == "PENDING", "the node is drained"
    slurm.node("resume")
    wait_for(lambda: launcher.poll() is not None)
    assert launcher.poll() == 0, (tmp_path / "launcher.log").read_text()
    assert slurm.job(name)["Restarts"] == "1"
    table = pd.read_csv(grid / "grid.csv")
    assert table["status"].tolist() == ["done"] and table["wer_corpus"].notna().all()

    # The same command, by hand and uninterrupted.
    printed = (run().parent / "log.txt").read_text()
    assert f"stopped after step {stopped_at}" in printed and "is requeued" in printed
    words = printed.splitlines()[0].removeprefix("$ python ").split()
    whole = tmp_path / "whole"
    words = [f"run={whole}" if word.startswith("run=") else word for word in words]
    subprocess.run(
        [sys.executable, *words],
        env=slurm.environment,
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    one, other = curves(whole / "metrics.csv"), curves(run() / "metrics.csv")
    pd.testing.assert_frame_equal(one, other, rtol=0, atol=1e-6)


def test_a_job_saves_and_comes_back_after_a_signal_but_not_after_scancel(
    slurm, tiny_world, tmp_path
):
    run, script = tmp_path / "run", tmp_path / "job.sh"
    overrides = (*SHORT, "experiment=mini_distill", "steps=100000", "trainer.val_every=100000")
    command = " ".join((sys.executable, str(ROOT / "train.py"), *overrides))
    script.write_text(
        "#!/bin/bash\n#SBATCH --ntasks-per-node=1 --requeue --open-mode=append\n"
        f"srun {command} paths.assets={tiny_world} run={run} overwrite=true\n"
    )
    printed = tmp_path / "job.log"
    answer = slurm("sbatch", f"--output={printed}", f"--chdir={tmp_path}", str(script))
    name = re.findall(r"job (\d+)", answer)[0]
    before = 0
    for restarts, signal in enumerate(("USR2", "TERM"), start=1):
        enough = rows(run / "metrics.csv") + 5
        wait_for(lambda enough=enough: rows(run / "metrics.csv") > enough)
        slurm("scancel", f"--signal={signal}", name)
        wait_for(lambda restarts=restarts: slurm.job(name)["Restarts"] == str(restarts))
        step = saved_step(run)
        assert step > before, "overwrite=true of a requeued job must not discard its own run"
        before = step
    wait_for(lambda: rows(run / "metrics.csv") > before + 5)
    assert slurm.job(name)["JobState"] == "RUNNING"
    slurm("scancel", name)
    wait_for(lambda: slurm.job(name)["JobState"] == "CANCELLED")
    assert saved_step(run) > before
    time.sleep(2 * local_slurm.CRED_EXPIRE_S)
    found = slurm.job(name)
    assert (found["JobState"], found["Restarts"]) == ("CANCELLED", "2")
    steps = pd.read_csv(run / "metrics.csv")["step"].tolist()
    assert steps == list(range(1, len(steps) + 1)), printed.read_text()
