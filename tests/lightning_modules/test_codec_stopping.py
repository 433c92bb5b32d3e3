"""Ctrl-C in a run of the speech side saves, and the same command ends where an uninterrupted run does."""

import os
import signal

import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file

from lightning_modules.stopping import Interrupted
from tests.lightning_modules.small_codec import fit_codec, fit_vocoder


class SignalAt(Callback):
    """A signal in the middle of a step, once."""

    def __init__(self, step, number):
        self.step, self.number = step, number

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            self.step = -1
            os.kill(os.getpid(), self.number)


def assert_same(first, second):
    first, second = load_file(first), load_file(second)
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(("make", "steps"), [(fit_vocoder, 8), (fit_codec, 9)])
def test_a_run_that_was_stopped_twice_ends_as_one_that_was_not(make, steps, callback, tmp_path):
    whole = make(tmp_path / "whole", steps)
    for step, number in ((3, signal.SIGINT), (6, signal.SIGUSR1)):
        callback(SignalAt(step, number))
        stopped = rf"stopped after step {step + 1}; saved .*last\.ckpt"
        with pytest.raises(Interrupted, match=stopped):
            make(tmp_path / "parts", steps)
    torch.manual_seed(9)  # noise is of the step, not of the process
    assert_same(whole, make(tmp_path / "parts", steps))
    one, other = (pd.read_csv(tmp_path / name / "metrics.csv") for name in ("whole", "parts"))
    losses = [table.loc[table["loss"].notna(), "loss"].tolist() for table in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(losses[0]) == steps
    assert one["val_loss"].notna().sum() == 1  # at its end


def test_a_module_that_steps_itself_is_of_one_process(tmp_path):
    with pytest.raises(ValueError, match=r"trainer\.accumulate must be 1: CodecModule"):
        fit_codec(tmp_path / "run", 2, trainer={"accumulate": 2})
