"""Ctrl-C in a run of the speech side saves, and the same command ends where an uninterrupted run does."""

import os
import signal

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file

from data.codec_batches import CropBatches
from lightning_modules import fit_codec as runs
from lightning_modules.stopping import Interrupted
from tests.lightning_modules.small_codec import NETWORK, VOCODER, fit, synthetic_corpus


class SignalAt(Callback):
    """A signal in the middle of a step, once."""

    def __init__(self, step, number):
        self.step, self.number = step, number

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            self.step = -1
            os.kill(os.getpid(), self.number)


@pytest.fixture
def stop(monkeypatch):
    """stop(step, number): the next training is asked to stop in that step."""
    real = runs.L.Trainer

    def at(step, number=signal.SIGINT):
        extra = SignalAt(step, number)

        def trainer(**settings):
            return real(**{**settings, "callbacks": [extra, *settings["callbacks"]]})

        monkeypatch.setattr(runs.L, "Trainer", trainer)

    return at


def vocoder(folder, steps=8):
    torch.manual_seed(0)
    return runs.fit_vocoder(
        run=folder,
        train=CropBatches(synthetic_corpus(), "train", rows=4, frames=16),
        network=NETWORK,
        vocoder=VOCODER,
        codec_weights=folder / "none",
        steps=steps,
        lr=1e-3,
        adversarial_from=3,
        precision="32-true",
        accelerator="cpu",
        provenance={},
    )


def assert_same(first, second):
    first, second = load_file(first), load_file(second)
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, msg=lambda m, n=name: f"{n}: {m}")


def test_a_vocoder_that_was_stopped_ends_as_one_that_was_not(stop, tmp_path):
    whole = vocoder(tmp_path / "whole")
    stop(4)
    with pytest.raises(Interrupted, match=r"stopped after step 5; saved .*last\.ckpt"):
        vocoder(tmp_path / "parts")
    torch.manual_seed(9)  # the noise is of the step, not of the process
    assert_same(whole, vocoder(tmp_path / "parts"))


def test_a_codec_that_was_stopped_twice_ends_as_one_that_was_not(stop, tmp_path):
    whole = fit(tmp_path, steps=9, run=tmp_path / "whole")
    for step, number in ((3, signal.SIGINT), (6, signal.SIGUSR1)):
        stop(step, number)
        with pytest.raises(Interrupted, match=f"stopped after step {step + 1}"):
            fit(tmp_path, steps=9, run=tmp_path / "parts")
    assert_same(whole, fit(tmp_path, steps=9, run=tmp_path / "parts"))
