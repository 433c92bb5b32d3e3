"""What happens on one of two processes ends on both of them, and alike: none waits for the other for ever."""

import errno

import pytest
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from lightning_modules.run_folder import RunFolder
from tests.lightning_modules.test_fit import PoisonAt

TWO = {"devices": 2, "strategy": "ddp_fork", "checkpoint_every": 2}
ENDED = (ProcessRaisedException, ProcessExitedException)


class PoisonRank(PoisonAt):
    """A loss that is no number on the second process alone."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if trainer.global_rank == 0:
            self.bias.data.copy_(self.before)


class NoMemory(Callback):
    """The second process has none at step 3."""

    def on_before_backward(self, trainer, pl_module, loss):
        if trainer.global_rank == 1 and trainer.global_step == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_a_step_that_is_no_number_on_one_rank_is_skipped_by_both(
    teacher, train, callback, tmp_path, capfd
):
    run = RunFolder(tmp_path / "run", "teacher")
    callback(PoisonRank({2}))
    metrics = train(teacher(), run, 5, **TWO)
    losses = metrics[metrics["loss"].notna()]
    assert losses["step"].tolist() == [1, 3, 4, 5]  # the skipped one has no row of means
    said = capfd.readouterr().out
    assert said.count("is not finite at step 1, which changes nothing (1 in a row, 1 in all)") >= 1


def test_steps_that_stay_so_end_both_with_their_batches(teacher, train, callback, tmp_path):
    run = RunFolder(tmp_path / "run", "teacher")
    callback(PoisonRank({4, 5}))
    with pytest.raises(ENDED, match="loss or its gradient is not finite at step"):
        train(teacher(), run, 9, nonfinite_limit=2, **TWO)
    found = sorted(path.name.split("rank-")[1] for path in (run.path / "nonfinite").iterdir())
    assert found == ["0.pt", "1.pt"] and run.saved_step() == 4


def test_one_rank_without_memory_ends_both(teacher, train, callback, tmp_path):
    run = RunFolder(tmp_path / "run", "teacher")
    callback(NoMemory())
    with pytest.raises(ENDED, match="CUDA out of memory"):
        train(teacher(), run, 9, **TWO)
    assert run.saved_step() == 2


def test_a_full_disk_of_the_first_rank_ends_both(teacher, train, tmp_path, monkeypatch):
    run, real = RunFolder(tmp_path / "run", "teacher"), TorchCheckpointIO.save_checkpoint

    def full(self, checkpoint, path, storage_options=None):
        if checkpoint["global_step"] == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, checkpoint, path, storage_options)

    monkeypatch.setattr(TorchCheckpointIO, "save_checkpoint", full)
    with pytest.raises(ENDED, match="after step 4 could not be saved"):
        train(teacher(), run, 9, **TWO)
    assert run.saved_step() == 2
