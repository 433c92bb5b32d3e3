"""Numbers that are none, sudden losses, memory that is too small, disks that are full."""

import errno
import json
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback

from lightning_modules.guards import NonFiniteLossError, SpikeReport, plain_batch
from lightning_modules.memory_guard import OutOfMemoryError, budget, is_out_of_memory
from lightning_modules.run_folder import RunError, RunFolder
from lightning_modules.saving import check_space
from tests.lightning_modules.test_fit import PoisonAt


def test_the_batch_of_a_step_that_is_no_number_is_saved(teacher, train, callback, tmp_path, capsys):
    run = RunFolder(tmp_path / "run", "teacher")
    callback(PoisonAt({2, 5, 6}))
    with pytest.raises(
        NonFiniteLossError, match=r"2 in a row, 3 in all.*saved as .*rank-0\.pt"
    ) as e:
        train(teacher(), run, 9, nonfinite_limit=2)
    assert "which changes nothing (1 in a row, 1 in all); batch: utt" in capsys.readouterr().out
    (path,) = (run.path / "nonfinite").glob("*.pt")
    (batch,) = torch.load(path, weights_only=True)["batches"]
    assert all(name in str(e.value) for name in batch["utterances"])
    assert (
        len(batch["ids"]) == len(batch["utterances"])
        and batch["targets"].shape == batch["ids"].shape
    )


def test_a_saved_batch_has_all_that_it_holds(tmp_path):
    """The voices of MambaVoiceCloning are a dataclass of their own; arrays and places are no tensors."""

    @dataclass
    class Voices:
        embeddings: torch.Tensor
        references: tuple[torch.Tensor, ...]

    @dataclass
    class Batch:
        ids: torch.Tensor
        lengths: np.ndarray
        voices: Voices
        utterances: tuple[str, ...]
        source: Path
        prompt: torch.Tensor | None = None

    voices = Voices(torch.ones(2, 3), (torch.zeros(4), torch.ones(5)))
    batch = Batch(torch.arange(2), np.array([4, 5]), voices, ("a", "b"), Path("x.wav"))
    torch.save(plain_batch(batch), tmp_path / "batch.pt")
    saved = torch.load(tmp_path / "batch.pt", weights_only=True)
    assert saved.keys() == {field.name for field in fields(Batch)}
    assert torch.equal(saved["voices"]["embeddings"], voices.embeddings)
    assert [len(one) for one in saved["voices"]["references"]] == [4, 5]
    assert saved["lengths"].tolist() == [4, 5] and saved["utterances"] == ["a", "b"]
    assert saved["source"] == "x.wav" and saved["prompt"] is None


def test_skipped_steps_are_counted_in_what_is_exported(teacher, train, callback, tmp_path):
    run = RunFolder(tmp_path / "run", "teacher")
    callback(PoisonAt({2}))
    train(teacher(), run, 4)
    about = json.loads((run.export / "model.json").read_text())["provenance"]["training"]
    assert about["nonfinite_steps"] == 1


def spikes(losses, path, deviations=8.0):
    report = SpikeReport(deviations, path)
    reduce = SimpleNamespace(reduce=lambda value, reduce_op: value)
    for step, loss in enumerate(losses):
        trainer = SimpleNamespace(
            callback_metrics={"loss": torch.tensor(loss)},
            accumulate_grad_batches=1,
            global_step=step,
            is_global_zero=True,
            strategy=reduce,
        )
        report.on_train_batch_end(trainer, None, None, SimpleNamespace(utterances=("u",)), 0)
    return report


def test_a_sudden_loss_is_reported_once_with_its_batch(tmp_path, capsys):
    usual = [4.0 + 0.1 * (i % 5) for i in range(40)]
    path = tmp_path / "spikes.jsonl"
    spikes([*usual, 9.0, *usual[:5], float("nan")], path)
    (row,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert row["step"] == 40 and row["loss"] == 9.0 and row["utterances"] == ["u"]
    assert row["median"] == pytest.approx(4.2) and row["deviations"] > 8
    assert "step 40: loss 9 is" in capsys.readouterr().out
    spikes([9.0, *usual], tmp_path / "none.jsonl")  # the start is not usual yet
    assert not (tmp_path / "none.jsonl").exists()


class TooLarge(Callback):
    """Memory for batches of `most` positions from step `first` on."""

    def __init__(self, most: int, first: int):
        self.most, self.first = most, first

    def on_before_backward(self, trainer, pl_module, loss):
        if self.positions > self.most and trainer.global_step >= self.first:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.positions = batch.n_padded


@pytest.mark.parametrize(
    ("most", "first", "known", "limit"),
    [(100, 1, r"\d+ were done before", 300), (0, 0, "a first try", 150)],
)
def test_out_of_memory_names_the_budget(
    most, first, known, limit, teacher, train, callback, tmp_path
):
    callback(TooLarge(most, first))
    with pytest.raises(OutOfMemoryError, match=rf"{known}\): batch\.max_tokens=(\d+), and") as e:
        train(teacher(), RunFolder(tmp_path / "run", "teacher"), 30)
    value = int(str(e.value).split("batch.max_tokens=")[1].split(",")[0])
    assert 0 < value <= limit


def test_the_budget_grows_with_the_memory_beyond_the_weights():
    assert budget(total=80, resident=20, peak=50, padded=100) == int(0.95 * 200)
    assert budget(total=80, resident=20, peak=20, padded=100) == 100
    assert is_out_of_memory(
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't")
    )
    assert not is_out_of_memory(ValueError("out of memory of what was said"))


def test_a_full_disk_ends_the_run_and_leaves_the_last_checkpoint(
    teacher, train, tmp_path, monkeypatch
):
    run, real, saved = RunFolder(tmp_path / "run", "teacher"), TorchCheckpointIO.save_checkpoint, []

    def full(self, checkpoint, path, storage_options=None):
        real(self, checkpoint, path, storage_options)
        saved.append(path)
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TorchCheckpointIO, "save_checkpoint", full)
    with pytest.raises(RunError, match=r"after step 4 could not be saved.*No space left.*is whole"):
        train(teacher(), run, 9, checkpoint_every=2)
    assert run.saved_step() == 2 and not list(run.checkpoints.glob("*.partial"))
    train(teacher(), run, 9, checkpoint_every=2)  # there is room again
    assert run.finished


def test_too_little_room_is_said_before_the_first_step(teacher, train, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    run = RunFolder(tmp_path / "run", "teacher")
    with pytest.raises(RunError, match=r"0\.00 GB are free: make room"):
        train(teacher(), run, 2)
    check_space(tmp_path, 999)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(RunError, match=r"cannot be written \(Not a directory\).*another run="),
        RunFolder(tmp_path / "file" / "run", "teacher").lock(),
    ):
        pass
