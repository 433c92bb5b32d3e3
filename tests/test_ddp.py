"""Two processes that share every step against one that accumulates it: `train.py` from the outside."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

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


def train(world: Path, folder: Path, *more: str) -> pd.DataFrame:
    command = [sys.executable, str(ROOT / "train.py"), *RUN, f"paths.assets={world}"]
    done = subprocess.run(
        [*command, f"run={folder}", *more], cwd=folder.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("layers:") == done.stdout.count("done:") == 1
    return pd.read_csv(folder / "metrics.csv")


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one_with_the_same_global_batch(tiny_world, tmp_path):
    one = train(tiny_world, tmp_path / "one", "trainer.accumulate=2")
    two = train(tiny_world, tmp_path / "two", "trainer.devices=2", "trainer.strategy=ddp")
    assert one["loss"].notna().sum() == STEPS
    names = [name for name in one.columns if name not in ("elapsed_s", "tokens_per_s")]
    pd.testing.assert_frame_equal(one[names], two[names], rtol=0, atol=1e-5)
    # Another division of the same data is another training: the test can fail.
    other = train(tiny_world, tmp_path / "other")
    assert (one["loss"] - other["loss"]).abs().max() > 1e-3
