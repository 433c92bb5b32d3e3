"""`python train.py -m experiment=mini_grid` on a tiny world: real training, synthesis and Whisper."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
MEASURED = ["wer_corpus", "val_ce", "val_logits", "ce", "sim_prompt"]


@pytest.fixture(scope="module")
def sweep(tiny_world, tmp_path_factory):
    """sweep(folder, *overrides) -> what the command printed; fails with its output."""
    home = tmp_path_factory.mktemp("home")

    def run(name: str, *more: str, launcher: tuple[str, ...] = ()) -> str:
        evaluate = {
            "testset.meta": f"{tiny_world}/meta.lst",
            "system.codec": tiny_world,
            "batch": 2,
            "testset.tokens": f"{tiny_world}/tokens.parquet",
            "cache": f"{home}/cache",
        }
        command = [
            *(sys.executable, *launcher, str(ROOT / "train.py"), "-m", "experiment=mini_grid"),
            *("init=calibrated", "steps=2", "trainer.val_every=2", "batch.max_tokens=200"),
            *("trainer.precision=32-true", f"paths.assets={tiny_world}", f"run={name}"),
            *(f"++cell.evaluate.{key}={value}" for key, value in evaluate.items()),
            *("+cell.evaluate.mos=null", "cell.mix=true", *more),
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
        done = subprocess.run(
            command, cwd=home, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run.home = home
    return run


# A sweep under torchrun is the same command, started by it as two processes.
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


CELLS = ("ratio=1to1,1to3", "placement=front,blockbeg")


@pytest.fixture(scope="module")
def plain(sweep) -> pd.DataFrame:
    """The table of a sweep in this process, one job after the other."""
    out = sweep("plain", *CELLS)
    assert "4 done, 0 failed, 0 left of 4" in out
    return pd.read_csv(sweep.home / "plain/grid.csv")


@pytest.mark.slow
def test_a_sweep_trains_each_plan_once_and_scores_it(plain, sweep):
    assert plain["status"].tolist() == ["done"] * 4
    plans = dict(zip(plain["ratio"] + plain["placement"], plain["plan"], strict=True))
    assert plans == {
        "1to1front": "AAMM",
        "1to1blockbeg": "AMAM",
        "1to3front": "AMMM",
        "1to3blockbeg": "AMMM",
    }
    assert plain["work"].nunique() == 3 == len(list((sweep.home / "plain/works").iterdir()))
    assert plain[MEASURED].notna().all(axis=None) and (plain["n_scored"] == 2).all()


@pytest.mark.slow
def test_a_second_sweep_does_nothing_twice_and_adds_cells(plain, sweep):
    models = sorted((sweep.home / "plain/works").glob("*/run/student/model.safetensors"))
    times = [path.stat().st_mtime_ns for path in models]
    out = sweep("plain", "ratio=1to0", "placement=front")
    assert [path.stat().st_mtime_ns for path in models] == times
    assert "5 done" in out
    table = pd.read_csv(sweep.home / "plain/grid.csv")
    assert table["ratio"].tolist()[0] == "1to0" and table["plan"].tolist()[0] == "AAAA"
    assert table["wer_difference"].notna().tolist() == [False, True, True, True, True]


@pytest.mark.slow
def test_a_cell_whose_scores_are_missing_does_not_stop_the_others(sweep):
    sweep("missing", "ratio=1to1", "placement=wer,front")
    table = pd.read_csv(sweep.home / "missing/grid.csv").set_index("placement")
    assert table.loc["front", "status"] == "done"
    assert "importance.py mode=wer" in table.loc["wer", "error"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["submitit_local", "ray"])
def test_cluster_launchers_make_the_same_table(launcher, plain, sweep):
    sweep(launcher, "ratio=1to1", "placement=front,blockbeg", f"hydra/launcher={launcher}")
    table = pd.read_csv(sweep.home / launcher / "grid.csv")
    same = ["ratio", "placement", "plan", "work", *MEASURED]
    expected = plain[plain["ratio"] == "1to1"].reset_index(drop=True)
    assert len(table) == 2
    pd.testing.assert_frame_equal(table[same], expected[same], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_torchrun_makes_the_same_table(devices, plain, sweep):
    """Its two processes take cells of one process in turns; those of two they train together, one cell after
    the other: with half of the accumulation the same global batch."""
    shared = ("trainer.devices=2", "trainer.strategy=ddp") if devices == 2 else ()
    alone = ("trainer.accumulate=2",)
    cells = ("ratio=1to1", "placement=front,blockbeg")
    name = f"torchrun-{devices}"
    sweep(name, *cells, *shared, launcher=TORCHRUN)
    table = pd.read_csv(sweep.home / name / "grid.csv")
    if devices == 2:
        sweep("accumulated", *cells, *alone)
        expected = pd.read_csv(sweep.home / "accumulated/grid.csv")
    else:
        expected = plain[plain["ratio"] == "1to1"].reset_index(drop=True)
    assert table["status"].tolist() == ["done"] * 2
    same = ["ratio", "placement", "plan", *MEASURED]
    pd.testing.assert_frame_equal(table[same], expected[same], rtol=1e-4)
