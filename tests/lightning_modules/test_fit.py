"""Real Lightning training of tiny models on CPU: guarding, logging, exporting."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from data.datamodule import TokenDataModule
from lightning_modules.ending import clear_errors
from lightning_modules.guards import NonFiniteLossError
from lightning_modules.run_folder import RunFolder
from lightning_modules.stopping import Interrupted
from mamtra.lm.checkpoint import load_lm


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


def test_the_loss_falls_and_the_curves_are_complete(teacher, train, tmp_path):
    metrics = train(teacher(), RunFolder(tmp_path / "run", "teacher"), 40, val_every=20)
    train_rows, valid_rows = metrics[metrics["loss"].notna()], metrics[metrics["val_ce"].notna()]
    assert list(train_rows["step"]) == list(range(1, 41))
    assert list(valid_rows["step"]) == [20, 40]
    assert train_rows["loss"].iloc[-5:].mean() < 0.7 * train_rows["loss"].iloc[:3].mean()
    assert (train_rows[["grad_norm", "lr", "tokens_per_s"]].iloc[:-1] > 0).all().all()
    assert valid_rows["val_accuracy"].between(0, 1).all()


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


def test_clear_errors(capsys, monkeypatch):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as caught, clear_errors():
        raise Interrupted("stopped after step 3")
    assert caught.value.code == 130 and "again to continue" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="error: unknown ratio"), clear_errors():
        raise ValueError("unknown ratio")
    with pytest.raises(KeyError), clear_errors():
        raise KeyError("a bug keeps its traceback")


def test_a_batch_of_no_utterances_changes_no_validation(teacher, train, tmp_path, monkeypatch):
    """What a rank validates that has no batch of its own: it only waits with the others."""
    expected = train(teacher(), RunFolder(tmp_path / "one", "teacher"), 2, val_every=2)
    loader = TokenDataModule.val_dataloader

    def with_another(self):
        idle = [replace(batch, utterances=()) for batch in loader(self)][:1]
        return DataLoader([*loader(self), *idle], batch_size=None)  # type: ignore[arg-type]

    monkeypatch.setattr(TokenDataModule, "val_dataloader", with_another)
    found = train(teacher(), RunFolder(tmp_path / "two", "teacher"), 2, val_every=2)
    names = ["val_ce", "val_accuracy"]
    pd.testing.assert_frame_equal(found[names], expected[names], rtol=1e-6)


def test_no_steps_export_what_was_built(teacher, tiny_lm, train, tmp_path):
    run = RunFolder(tmp_path / "run", "teacher")
    with pytest.raises(FileNotFoundError):  # there are no metrics
        train(teacher(), run, 0, export="best")
    made = load_lm(run.export)
    for name, tensor in tiny_lm(seed=0, dropout=0.2).state_dict().items():
        assert torch.equal(made.state_dict()[name], tensor), name
    provenance = json.loads((run.export / "model.json").read_text())["provenance"]
    assert provenance["training"] == {"steps": 0, "weights": "untrained"} and run.finished
