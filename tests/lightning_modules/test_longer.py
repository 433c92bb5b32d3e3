"""A run that is made longer, divided otherwise, watched otherwise; models of chosen steps."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch.testing import assert_close

from lightning_modules import fit as fit_module
from lightning_modules.identity import result_settings
from lightning_modules.run_folder import RunError, RunFolder
from lightning_modules.running import train_in
from lightning_modules.teacher import TeacherModule
from lightning_modules.trainer_settings import TrainingLength
from lightning_modules.watching import Watching
from mamtra.lm.checkpoint import load_lm, read_description
from tests.lightning_modules.conftest import OPTIMIZER, TRAINER
from tests.lightning_modules.test_checkpoints import DieAt

CONSTANT = replace(OPTIMIZER, recipe="adam_constant", weight_decay=0.0, warmup_steps=3)


def curves(metrics: pd.DataFrame) -> pd.DataFrame:
    return metrics.drop(columns=["elapsed_s", "tokens_per_s"])


def assert_same_model(first, second) -> None:
    first, second = load_lm(first).state_dict(), load_lm(second).state_dict()
    for name, value in first.items():
        assert_close(second[name], value, rtol=0, atol=0)


@pytest.fixture
def command(tiny_lm, datamodule, tokens_path, tmp_path):
    """command(folder, **changes): one call of train.py -> its run folder."""

    def built(optimizer):
        return TeacherModule(tiny_lm(dropout=0.2), optimizer), datamodule()

    def run(
        name, steps=None, epochs=None, overwrite=False, build=built, optimizer=CONSTANT, **trainer
    ):
        settings = {"seed": 5, "steps": steps, "epochs": epochs}
        folder, chosen = RunFolder(tmp_path / name, "teacher"), replace(TRAINER, **trainer)
        settings["trainer"] = {**vars(chosen), "keep": list(chosen.keep)}
        train_in(
            *(folder, lambda: build(optimizer)),
            *(settings, {"tokens": tokens_path}, overwrite),
            length=TrainingLength(5, steps, epochs),
            trainer=chosen,
            watching=Watching.by_csv(folder.path),
        )
        return folder

    return run


def metrics_of(run: RunFolder) -> pd.DataFrame:
    return pd.read_csv(run.path / "metrics.csv")


@pytest.mark.parametrize(
    "first", [6, 8]
)  # a step that val_every validates, and one that it does not
def test_a_finished_run_that_is_made_longer_ends_as_one_that_was_long_at_once(first, command):
    whole, parts = command("whole", steps=13), command("parts", steps=first)
    short = load_lm(parts.export).state_dict()
    command("parts", steps=13)
    assert_same_model(whole.export, parts.export)
    assert any(not torch.equal(short[n], v) for n, v in load_lm(parts.export).state_dict().items())
    expected, found = curves(metrics_of(whole)), curves(metrics_of(parts))
    if first % TRAINER.val_every:  # its last step was validated besides
        extra = found[(found["step"] == first) & found["val_ce"].notna()].index
        found = found.drop(index=extra).reset_index(drop=True)
    pd.testing.assert_frame_equal(expected, found)
    training = read_description(parts.export)["provenance"]["training"]
    assert training["lengths"] == [first, 13] and training["steps"] == 13


def test_longer_in_epochs_and_not_shorter(command, capsys):
    run = command("run", epochs=1)
    steps = run.lengths()[-1]
    command("run", epochs=1)
    assert "is complete; nothing to do" in capsys.readouterr().out
    command("run", epochs=2)
    assert run.lengths()[0] == steps < run.lengths()[1] and len(run.lengths()) == 2
    command("run", steps=run.lengths()[1])
    assert "is complete; nothing to do" in capsys.readouterr().out
    with pytest.raises(
        RunError, match=f"is a run of {run.lengths()[1]} steps, not of 2: .* raised"
    ):
        command("run", steps=2)
    assert run.finished


def test_a_rate_that_follows_the_length_is_said(command, capsys):
    command("run", steps=3, optimizer=OPTIMIZER)
    command("run", steps=5, optimizer=OPTIMIZER)
    assert "5 steps instead of 3\nits learning rate follows" in capsys.readouterr().out
    command("other", steps=3)
    command("other", steps=5)
    out = capsys.readouterr().out
    assert "5 steps instead of 3" in out and "learning rate" not in out


def test_without_a_training_state_a_model_cannot_be_made_longer(command):
    run = command("run", steps=3)
    run.last.unlink()
    with pytest.raises(RunError, match=r"left no checkpoints/last.ckpt to continue to 5 from"):
        command("run", steps=5)
    assert run.finished


def test_a_run_made_longer_and_killed_is_not_finished(command, callback, tmp_path):
    whole, run = command("whole", steps=9), command("run", steps=4)
    callback(DieAt(7))
    with pytest.raises(LookupError):
        command("run", steps=9)
    assert not run.finished
    command("run", steps=9)
    assert_same_model(whole.export, run.export)


def test_devices_and_accumulation_count_as_their_product():
    trainer = {"devices": 1, "nodes": 1, "accumulate": 4, "export": "best", "val_every": 4}
    divided = {**trainer, "devices": 2, "nodes": 2, "accumulate": 1, "accelerator": "gpu"}
    assert result_settings({"trainer": trainer}) == result_settings({"trainer": divided})
    doubled = {**trainer, "devices": 2}
    assert result_settings({"trainer": trainer}) != result_settings({"trainer": doubled})


def test_what_does_not_change_the_result_may_change(command, capsys):
    whole, run = command("whole", steps=8), command("other", steps=5)
    command("parts", steps=5, export="best")
    changes = {"log_every": 2, "checkpoint_every": 3, "checkpoint_minutes": None, "val_every": 3}
    command("other", steps=8, nonfinite_limit=9, **changes)
    assert_same_model(whole.export, run.export)
    with pytest.raises(RunError, match=r"trainer\.val_every: 4 -> 3"):  # which weights are the best
        command("parts", steps=5, export="best", val_every=3)
    with pytest.raises(RunError, match=r"trainer\.grad_clip: 1.0 -> 2.0"):
        command("parts", steps=5, export="best", grad_clip=2.0)


def test_kept_steps_are_the_models_of_shorter_runs(command):
    short, long = command("short", steps=3), command("long", steps=8, keep=(3, 5))
    assert_same_model(short.export, long.kept / "step-3")
    assert sorted(path.name for path in long.kept.iterdir()) == ["step-3", "step-5"]
    about = read_description(long.kept / "step-3")["provenance"]["training"]
    assert (about["weights"], about["step"], about["steps"]) == ("last", 3, 8)


def test_kept_epochs(command):
    short, long = command("short", epochs=1), command("long", epochs=2, keep=(1,))
    assert_same_model(short.export, long.kept / "epoch-1")


def test_kept_steps_that_cannot_be(command, capsys):
    with pytest.raises(ValueError, match=r"trainer\.keep: step-9 is not among the 8 steps"):
        command("run", steps=8, keep=(9,))
    command("run", steps=4)
    command("run", steps=6, keep=(2, 5))
    assert "past step [2]" in capsys.readouterr().out


def test_overwriting_starts_again_and_discards_everything(command, tmp_path):
    run = command("run", steps=4, keep=(2,))
    (run.path / "hpc_ckpt_1.ckpt").write_bytes(b"state of a run of before")
    command("run", steps=3, overwrite=True, grad_clip=2.0)
    assert run.saved_step() == 3 and run.lengths() == [3] and not run.kept.exists()
    assert list(run.path.glob("hpc_ckpt*")) == []


def test_a_folder_in_which_another_trains_is_refused_before_anything_is_built(command, tmp_path):
    run = command("run", steps=2)
    with run.lock(), pytest.raises(RunError, match="is being trained by process"):
        command("run", steps=4, build=None)
    assert run.lengths() == [2]


def test_a_requeued_job_does_not_discard_its_own_run(command, monkeypatch, callback):
    command("run", steps=3, grad_clip=2.0)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    callback(DieAt(6))
    with pytest.raises(LookupError):
        command("run", steps=8, overwrite=True, checkpoint_every=4)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    run = command("run", steps=8, overwrite=True)
    assert run.saved_step() == 8
    # It went on at step 4: the curve before is that of the first start.
    elapsed = metrics_of(run)["elapsed_s"]
    assert elapsed.is_monotonic_increasing and metrics_of(run)["step"].min() == 1
    # Outside a requeued job, overwrite=true is what it says.
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    command("run", steps=2, overwrite=True)
    assert run.saved_step() == 2


def test_other_ranks_neither_look_at_nor_resume_what_the_first_discards(command, monkeypatch):
    """Two processes that are started together: the second may come before or after the first's discarding."""
    run = command("run", steps=4)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(fit_module, "cluster_environment", lambda devices, nodes: None)
    seen = {}

    class Trainer:
        is_global_zero = False

        def __init__(self, **settings):
            self.strategy = SimpleNamespace(root_device=torch.device("cpu"))

        def fit(self, module, datamodule, ckpt_path, weights_only):
            seen["resumes"] = ckpt_path

    monkeypatch.setattr(fit_module.lightning, "Trainer", Trainer)
    command("run", steps=3, overwrite=True, grad_clip=2.0)  # would be refused, or "complete"
    assert seen == {"resumes": None}
    assert run.saved_step() == 4 and run.lengths() == [4]  # only the first process writes


def test_a_finished_run_of_an_older_version_is_still_complete(command, capsys):
    """Its config.json has neither `lengths` nor a `job`, and its settings have no `keep`."""
    run = command("run", steps=3)
    old = json.loads(run.description.read_text())
    del old["lengths"], old["job"], old["settings"]["trainer"]["keep"]
    run.description.write_text(json.dumps(old))
    command("run", steps=3)
    assert "is complete" in capsys.readouterr().out
    command("run", steps=5)
    assert run.lengths() == [3, 5]


def test_the_length_is_steps_or_epochs():
    with pytest.raises(ValueError, match="steps=null needs epochs="):
        TrainingLength(0, None, None)
    with pytest.raises(ValueError, match="steps=3 and epochs=2: one of them has to be null"):
        TrainingLength(0, 3, 2)


def test_a_copy_of_a_run_folder_elsewhere_is_the_same_run(command, tmp_path, capsys):
    run = command("run", steps=3)
    shutil.move(run.path, tmp_path / "moved")
    command("moved", steps=3)
    assert "is complete" in capsys.readouterr().out
