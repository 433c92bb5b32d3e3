"""Two processes that share every step: `train.py` from the outside."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
STEPS = 20
RUN = (
    "experiment=mini_distill",
    f"steps={STEPS}",
    "batch.max_tokens=120",
    "transfer.dropout=0.1",
    "trainer.precision=32-true",
    "trainer.val_every=10",
    "trainer.log_every=1",
    "optimizer.warmup_steps=2",
)


OVERWRITE_S = 1800  # a hang is what the test is for
TWO = ("trainer.devices=2", "trainer.strategy=ddp")


def command(world: Path, folder: Path, *more: str) -> list[str]:
    train = [sys.executable, str(ROOT / "train.py"), *RUN]
    return [*train, f"paths.assets={world}", f"run={folder}", *more]


def curves(metrics: pd.DataFrame) -> pd.DataFrame:
    return metrics.drop(columns=["elapsed_s", "tokens_per_s"])


def train(world: Path, folder: Path, *more: str) -> pd.DataFrame:
    words = command(world, folder, *more)
    done = subprocess.run(words, cwd=folder.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("layers:") == done.stdout.count("done:") == 1
    return pd.read_csv(folder / "metrics.csv")


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one_with_the_same_global_batch(tiny_world, tmp_path):
    one = train(tiny_world, tmp_path / "one", "trainer.accumulate=2")
    two = train(tiny_world, tmp_path / "two", *TWO)
    assert one["loss"].notna().sum() == STEPS
    # The file has six digits of a value, and two orders of summation may round the last one otherwise.
    pd.testing.assert_frame_equal(curves(one), curves(two), rtol=1e-5, atol=1e-5)
    # Another division of the same data is another training: the test can fail.
    other = train(tiny_world, tmp_path / "other")
    assert (one["loss"] - other["loss"]).abs().max() > 1e-3


@pytest.mark.slow
def test_torchrun_overwrites_a_finished_run_and_a_rank_may_have_nothing_to_validate(
    tiny_world, tmp_path
):
    """The first process discards what the second may find complete; one batch is validated by two ranks."""
    short = ("steps=4", "trainer.val_every=2", "batch.max_tokens=2000")
    one = train(tiny_world, tmp_path / "one", *short, "trainer.accumulate=2")
    folder = tmp_path / "two"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for more in ("seed=1", "overwrite=true"):
        words = [*torchrun, *command(tiny_world, folder, *short, *TWO, more)[1:]]
        done = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, timeout=OVERWRITE_S
        )
        assert done.returncode == 0, done.stderr[-3000:]
    two = pd.read_csv(folder / "metrics.csv")
    pd.testing.assert_frame_equal(curves(one), curves(two), rtol=0, atol=1e-5)


def stop_after(step: int, words: list[str], folder: Path) -> str:
    """Runs a training and asks its first process, alone, to stop once `step` is in its metrics."""
    with (folder.parent / "stopped.log").open("w") as log:
        process = subprocess.Popen(words, cwd=folder.parent, stdout=log, stderr=log)
        metrics = folder / "metrics.csv"
        while process.poll() is None:
            if metrics.exists() and len(metrics.read_text().splitlines()) > step:
                process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.02)
        assert process.wait(timeout=120) == 130
    return Path(log.name).read_text()


@pytest.mark.slow
def test_two_processes_stopped_and_continued_end_like_two_that_were_not(tiny_world, tmp_path):
    whole = train(tiny_world, tmp_path / "whole", *TWO)
    parts = tmp_path / "parts"
    printed = stop_after(6, command(tiny_world, parts, *TWO), parts)
    stopped_at = int(re.findall(r"stopped after step (\d+)", printed)[0])
    assert 6 <= stopped_at < STEPS
    saved = torch.load(parts / "checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == stopped_at and not (parts / "student").exists()
    resumed = train(tiny_world, parts, *TWO)
    # The same sums in the same order: what is left is how a value is printed and read.
    pd.testing.assert_frame_equal(curves(whole), curves(resumed), rtol=0, atol=1e-6)
    first, second = (
        load_file(run / "student/model.safetensors") for run in (tmp_path / "whole", parts)
    )
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=1e-6)
