"""Real Lightning training of tiny models on CPU: resuming, guarding, logging, exporting."""

import json
import os
import shutil
import signal

import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.testing import assert_close

from lightning_modules import running
from lightning_modules.callbacks import Interrupted, NonFiniteLossError
from lightning_modules.run_folder import RunError, RunFolder
from lightning_modules.running import clear_errors
from lightning_modules.teacher import TeacherModule
from mamtra.lm.checkpoint import load_lm

STEPS = 14
EPOCHS = [
    4,
    5,
]  # batches of the first two epochs: stop 4 and 9 at an end, 4 and 8 where it validates


@pytest.fixture
def teacher(tiny_lm, optimizer):
    """Makes a teacher module; dropout makes the losses depend on the random state of every step."""

    def make(seed=0):
        return TeacherModule(tiny_lm(seed=seed, dropout=0.2), optimizer)

    return make


@pytest.fixture
def callback(monkeypatch):
    """Adds a callback to the trainer that fit() builds."""

    def add(extra: Callback) -> None:
        real = running.lightning.Trainer

        def trainer(**settings):
            return real(**{**settings, "callbacks": [extra, *settings["callbacks"]]})

        monkeypatch.setattr(running.lightning, "Trainer", trainer)

    return add


class SignalAt(Callback):
    """Sends this process a signal during step `step` (counted from 1), once."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step - 1:
            self.step = 0
            os.kill(os.getpid(), signal.SIGINT)


class PoisonAt(Callback):
    """Makes the loss of the given steps (counted from 1) non-finite by putting NaN in a weight for
    a moment."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.bias = pl_module.model.llm_decoder.bias
        self.before = self.bias.detach().clone()
        if trainer.global_step + 1 in self.steps:
            self.bias.data.fill_(float("nan"))

    def on_before_backward(self, trainer, pl_module, loss):
        self.bias.data.copy_(self.before)


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
    assert list(expected["step"].dropna()) == [
        1,
        2,
        3,
        4,
        4,
        5,
        6,
        7,
        8,
        8,
        9,
        10,
        11,
        12,
        12,
        13,
        14,
        14,
    ]
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
            raise MemoryError("the process dies here")


def test_a_killed_run_repeats_the_steps_since_its_checkpoint(teacher, train, callback, tmp_path):
    whole, parts = (
        RunFolder(tmp_path / "whole", "teacher"),
        RunFolder(tmp_path / "parts", "teacher"),
    )
    expected = train(teacher(), whole, STEPS)
    callback(DieAt(11))
    with pytest.raises(MemoryError):
        train(teacher(), parts, STEPS, checkpoint_every=7)
    assert torch.load(parts.last, weights_only=True)["global_step"] == 7
    resumed = train(teacher(seed=9), parts, STEPS, checkpoint_every=7)
    pd.testing.assert_frame_equal(curves(expected), curves(resumed))


def test_the_loss_falls_and_the_curves_are_complete(teacher, train, tmp_path):
    metrics = train(teacher(), RunFolder(tmp_path / "run", "teacher"), 40, val_every=20)
    train_rows, valid_rows = metrics[metrics["loss"].notna()], metrics[metrics["val_ce"].notna()]
    assert list(train_rows["step"]) == list(range(1, 41))
    assert list(valid_rows["step"]) == [20, 40]
    assert train_rows["loss"].iloc[-5:].mean() < 0.7 * train_rows["loss"].iloc[:3].mean()
    assert (train_rows[["grad_norm", "lr", "tokens_per_s"]].iloc[:-1] > 0).all().all()
    assert valid_rows["val_accuracy"].between(0, 1).all()


def test_the_last_step_is_validated_and_saved_whatever_the_intervals(teacher, train, tmp_path):
    run = RunFolder(tmp_path / "run", "teacher")
    metrics = train(teacher(), run, 3, val_every=100, log_every=2)
    assert list(metrics["step"]) == [2, 3, 3]
    assert torch.load(run.last, weights_only=True)["global_step"] == 3


def test_export_holds_the_best_weights_and_their_provenance(teacher, train, tmp_path):
    run = RunFolder(tmp_path / "run", "teacher")
    metrics = train(teacher(), run, 12, export="best")
    best = metrics.loc[metrics["val_ce"].idxmin()]
    provenance = json.loads((run.export / "model.json").read_text())["provenance"]
    assert provenance["training"]["step"] == best["step"]
    assert provenance["training"]["value"] == pytest.approx(best["val_ce"], rel=1e-5)
    assert {"git", "python", "torch", "lightning"} <= provenance["software"].keys()
    model, kept = load_lm(run.export), load_lm(run.checkpoints / "best")
    for name, value in kept.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_skipped_steps_change_no_weight_and_training_recovers(teacher, train, callback, tmp_path):
    callback(PoisonAt({1, 2}))
    module = teacher()
    before = {name: value.clone() for name, value in module.model.state_dict().items()}
    train(module, RunFolder(tmp_path / "two", "teacher"), 2)
    assert all(torch.equal(before[n], v) for n, v in module.model.state_dict().items())
    metrics = train(teacher(), RunFolder(tmp_path / "run", "teacher"), 8)
    assert list(metrics["step"][metrics["loss"].notna()]) == [3, 4, 5, 6, 7, 8]


def test_non_finite_loss_stops_with_step_batch_and_checkpoint(teacher, train, callback, tmp_path):
    run = RunFolder(tmp_path / "run", "teacher")
    callback(PoisonAt({5, 6, 7}))
    with pytest.raises(NonFiniteLossError) as caught:
        train(teacher(), run, 10, checkpoint_every=2)
    message = str(caught.value)
    assert "at step 6 " in message or "at step 7 " in message
    assert "utt0" in message and str(run.last) in message
    saved = torch.load(run.last, weights_only=True)
    assert saved["global_step"] == 6
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())
    assert not run.finished


def test_non_finite_loss_before_any_checkpoint(teacher, train, callback, tmp_path):
    callback(PoisonAt({1}))
    with pytest.raises(NonFiniteLossError, match="none was saved yet"):
        train(teacher(), RunFolder(tmp_path / "run", "teacher"), 4, nonfinite_limit=1)


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
    run.check({"steps": 6}, inputs, overwrite=True)
    assert not run.last.exists()
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        run.check(settings, {"tokens": tmp_path / "absent"}, overwrite=False)


def test_clear_errors(capsys, monkeypatch):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as caught, clear_errors():
        raise Interrupted("stopped after step 3")
    assert caught.value.code == 130 and "again to continue" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="error: unknown ratio"), clear_errors():
        raise ValueError("unknown ratio")
    with pytest.raises(KeyError), clear_errors():
        raise KeyError("a bug keeps its traceback")
