"""A run that is stopped and continued, its checkpoints and its folder: the same as one that was not."""

import os
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.testing import assert_close

from lightning_modules.run_folder import RunError, RunFolder
from lightning_modules.stopping import Interrupted
from mamtra.lm.checkpoint import load_lm

STEPS = 14
# Batches of the first two epochs: stop 4 and 9 at an end, 4 and 8 where it validates.
EPOCHS = [4, 5]


class SignalAt(Callback):
    """Sends this process a signal during step `step` (counted from 1), once."""

    def __init__(self, step, number=signal.SIGINT, times=1):
        self.step, self.number, self.times = step, number, times

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step - 1:
            self.step = 0
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


def curves(metrics: pd.DataFrame) -> pd.DataFrame:
    return metrics.drop(columns=["elapsed_s", "tokens_per_s"])


@pytest.mark.parametrize("stop", [4, 6, 8, 9, 13])
def test_interrupted_and_resumed_equals_uninterrupted(
    stop, teacher, train, callback, datamodule, tmp_path
):
    sampler = datamodule().train_dataloader().batch_sampler
    assert [len(sampler.epoch_batches(epoch)) for epoch in range(2)] == EPOCHS
    whole, parts = (
        RunFolder(tmp_path / "whole", "teacher"),
        RunFolder(tmp_path / "parts", "teacher"),
    )
    expected = train(teacher(), whole, STEPS)
    callback(SignalAt(stop))
    with pytest.raises(Interrupted, match=f"stopped after step {stop}"):
        train(teacher(), parts, STEPS)
    assert not parts.finished and parts.last.exists()
    # Another seed: everything has to come from the checkpoint.
    resumed = train(teacher(seed=9), parts, STEPS)
    pd.testing.assert_frame_equal(curves(expected), curves(resumed))
    assert list(expected["step"]) == sorted([*range(1, STEPS + 1), 4, 8, 12, 14])
    assert_same_weights(whole, parts)


def test_a_signal_between_accumulated_batches_waits_for_the_end_of_the_step(
    teacher, train, callback, tmp_path
):
    whole, parts = RunFolder(tmp_path / "whole", "teacher"), RunFolder(tmp_path / "p", "teacher")
    expected = train(teacher(), whole, 6, accumulate=2)
    callback(SignalAt(3))
    with pytest.raises(Interrupted, match="stopped after step 3"):
        train(teacher(), parts, 6, accumulate=2)
    resumed = train(teacher(seed=9), parts, 6, accumulate=2)
    pd.testing.assert_frame_equal(curves(expected), curves(resumed))
    assert list(expected["step"]) == [1, 2, 3, 4, 4, 5, 6, 6]
    assert_same_weights(whole, parts)


def assert_same_weights(whole: RunFolder, parts: RunFolder) -> None:
    first, second = load_lm(whole.export).state_dict(), load_lm(parts.export).state_dict()
    for name in first:
        assert_close(first[name], second[name], rtol=0, atol=0)


class DieAt(Callback):
    """Raises in the middle of step `step` (counted from 1), once: no chance to save anything."""

    def __init__(self, step):
        self.step = step

    def on_before_backward(self, trainer, pl_module, loss):
        if trainer.global_step == self.step - 1:
            self.step = 0
            raise LookupError("the process dies here")


def test_a_killed_run_repeats_the_steps_since_its_checkpoint(teacher, train, callback, tmp_path):
    whole, parts = (
        RunFolder(tmp_path / "whole", "teacher"),
        RunFolder(tmp_path / "parts", "teacher"),
    )
    expected = train(teacher(), whole, STEPS)
    callback(DieAt(11))
    with pytest.raises(LookupError):
        train(teacher(), parts, STEPS, checkpoint_every=7)
    assert torch.load(parts.last, weights_only=True)["global_step"] == 7
    resumed = train(teacher(seed=9), parts, STEPS, checkpoint_every=7)
    pd.testing.assert_frame_equal(curves(expected), curves(resumed))


def test_the_last_step_is_validated_and_saved_whatever_the_intervals(teacher, train, tmp_path):
    run = RunFolder(tmp_path / "run", "teacher")
    metrics = train(teacher(), run, 3, val_every=100, log_every=2)
    assert list(metrics["step"]) == [2, 3, 3]
    assert torch.load(run.last, weights_only=True)["global_step"] == 3


def test_without_an_interval_only_a_signal_saves_the_training_state(
    teacher, train, callback, tmp_path
):
    none, whole = RunFolder(tmp_path / "none", "teacher"), RunFolder(tmp_path / "whole", "teacher")
    expected = train(teacher(), whole, 5)
    metrics = train(teacher(), none, 5, checkpoint_every=None, checkpoint_minutes=None)
    assert not none.last.exists() and none.finished
    pd.testing.assert_frame_equal(curves(expected), curves(metrics))
    parts = RunFolder(tmp_path / "parts", "teacher")
    callback(SignalAt(3))
    with pytest.raises(Interrupted, match="saved"):
        train(teacher(), parts, 5, checkpoint_every=None, checkpoint_minutes=None)
    resumed = train(teacher(seed=9), parts, 5, checkpoint_every=None, checkpoint_minutes=None)
    pd.testing.assert_frame_equal(curves(expected), curves(resumed))


def test_minutes_alone_save_too(teacher, train, callback, tmp_path):
    callback(counter := CountSaves())
    run = RunFolder(tmp_path / "run", "teacher")
    train(teacher(), run, 3, checkpoint_every=None, checkpoint_minutes=0.0)
    assert run.last.exists() and counter.saves == 3


class CountSaves(Callback):
    def __init__(self):
        self.saves = 0

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        self.saves += 1


def test_the_last_step_is_saved_once(teacher, train, callback, tmp_path):
    counter = CountSaves()
    callback(counter)
    train(teacher(), RunFolder(tmp_path / "run", "teacher"), 4, checkpoint_every=2)
    assert counter.saves == 2


def test_a_broken_checkpoint_is_one_clear_error(teacher, train, tmp_path):
    run = RunFolder(tmp_path / "run", "teacher")
    run.checkpoints.mkdir(parents=True)
    run.last.write_bytes(b"not a checkpoint")
    with pytest.raises(RunError, match=r"last\.ckpt is not a checkpoint"):
        train(teacher(), run, 4)
    torch.save({"state_dict": {}}, run.last)
    with pytest.raises(RunError, match=r"last\.ckpt is not a training checkpoint"):
        train(teacher(), run, 4)


@pytest.mark.parametrize("export", ["best", "last"])
def test_a_run_killed_before_its_export_only_exports(export, teacher, train, tmp_path):
    run = RunFolder(tmp_path / "run", "teacher")
    before = train(teacher(), run, 6, export=export)
    exported = load_lm(run.export).state_dict()
    shutil.rmtree(run.export)
    after = train(teacher(seed=9), run, 6, export=export)
    pd.testing.assert_frame_equal(before, after)
    for name, value in load_lm(run.export).state_dict().items():
        assert torch.equal(value, exported[name])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_the_signals_of_schedulers_save_however_often_they_come(
    number, teacher, train, callback, tmp_path
):
    run = RunFolder(tmp_path / "run", "teacher")
    callback(SignalAt(3, number, times=3))
    with pytest.raises(Interrupted, match="stopped after step 3; saved") as stop:
        train(teacher(), run, 6)
    assert run.saved_step() == 3 and stop.value.number == number


def test_a_second_ctrl_c_does_not_wait(teacher, train, callback, tmp_path):
    run = RunFolder(tmp_path / "run", "teacher")
    callback(SignalAt(3, times=2))
    # Lightning ends the process on KeyboardInterrupt.
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(teacher(), run, 6)
    assert run.saved_step() is None


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_another_accumulation_counts_on_where_the_run_stands(
    first, then, teacher, train, callback, tmp_path
):
    """Steps 4 and 8 are validated, and every step has its batches, after three steps of `first` batches."""
    run = RunFolder(tmp_path / "run", "teacher")
    callback(SignalAt(3))
    with pytest.raises(Interrupted):
        train(teacher(), run, 9, accumulate=first)
    metrics = train(teacher(), run, 9, accumulate=then)
    assert list(metrics["step"][metrics["val_ce"].notna()]) == [4, 8, 9]
    assert list(metrics["step"][metrics["loss"].notna()]) == list(range(1, 10))


def test_a_folder_is_trained_in_by_one_process_at_a_time(tmp_path):
    run = RunFolder(tmp_path / "run", "teacher")
    with run.lock():
        mine = rf"run is being trained by process {os.getpid()} on "
        with pytest.raises(RunError, match=mine), run.lock():
            pass
        assert (run.path / "lock.json").exists(), "the one that is refused leaves it"
    with run.lock():
        pass


def test_a_checkpoint_is_looked_at_by_its_header(tmp_path):
    run = RunFolder(tmp_path / "run", "teacher")
    run.checkpoints.mkdir(parents=True)
    state = {"w": torch.zeros(16, 1 << 18)}  # 16.8 MB
    torch.save(
        {"state_dict": state, "loops": {}, "optimizer_states": [], "global_step": 4}, run.last
    )

    def bytes_read() -> int:
        lines = Path("/proc/self/io").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("rchar")))

    before = bytes_read()
    assert run.saved_step() == 4
    assert bytes_read() - before < 1e6 < run.last.stat().st_size


def test_signal_handlers_are_put_back(teacher, train, callback, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    train(teacher(), RunFolder(tmp_path / "done", "teacher"), 2)
    assert signal.getsignal(signal.SIGINT) is before
    callback(SignalAt(1))
    with pytest.raises(Interrupted):
        train(teacher(), RunFolder(tmp_path / "stopped", "teacher"), 3)
    assert signal.getsignal(signal.SIGINT) is before


def test_checkpoints_by_time_leave_no_partial_file(teacher, train, tmp_path):
    run = RunFolder(tmp_path / "run", "teacher")
    train(teacher(), run, 3, checkpoint_minutes=0.0)
    assert [path.name for path in run.checkpoints.iterdir() if path.is_file()] == ["last.ckpt"]


def test_run_folder_refuses_another_run(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("1")
    run = RunFolder(tmp_path / "run", "student")
    settings, inputs = {"steps": 5, "batch": {"max_tokens": 9}}, {"tokens": tokens}
    identity = run.check(settings, inputs, overwrite=False)
    run.claim(identity)
    # Nothing is lost yet, so other settings are fine.
    run.check({"steps": 6}, inputs, overwrite=False)
    run.last.write_bytes(b"x")
    assert run.check(settings, inputs, overwrite=False) == identity
    with pytest.raises(RunError, match=r"batch\.max_tokens: 9 -> 8"):
        run.check({"steps": 5, "batch": {"max_tokens": 8}}, inputs, overwrite=False)
    tokens.write_text("2")
    with pytest.raises(RunError, match=r"input_sha256\.tokens"):
        run.check(settings, inputs, overwrite=False)
    identity = run.check({"steps": 6}, inputs, overwrite=True)
    assert run.last.exists(), "looking is not discarding"
    run.claim(identity, discard=True)
    assert not run.last.exists()
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        run.check(settings, {"tokens": tmp_path / "absent"}, overwrite=False)


def test_a_run_of_another_precision_alone_is_told_how_to_go_on(tmp_path):
    # precision=auto is decided by each processor: a run that moves meets the other one.
    run = RunFolder(tmp_path / "run", "teacher")
    trainer = {"precision": "32-true", "devices": 1, "nodes": 1, "accumulate": 1}
    settings = {"trainer": trainer, "steps": 4}
    run.claim(run.check(settings, {}, overwrite=False))
    run.last.write_bytes(b"x")
    moved = {**settings, "trainer": {**trainer, "precision": "bf16-mixed"}}
    with pytest.raises(
        RunError, match=r"32-true -> bf16-mixed\. trainer\.precision=32-true goes on"
    ):
        run.check(moved, {}, overwrite=False)
    with pytest.raises(RunError) as error:
        run.check({**moved, "seed": 1}, {}, overwrite=False)
    assert "goes on with it" not in str(error.value), "more than the precision is another"
