"""Loggers, callbacks and profiler by configuration, and Lightning's own arguments."""

import csv
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from lightning.pytorch.callbacks import Callback

from lightning_modules.metrics_csv import MetricsCsv
from lightning_modules.run_folder import RunFolder
from lightning_modules.trainer_settings import trainer_arguments, with_arguments
from lightning_modules.watching import Watching
from settings import SettingsError, plain_settings, typed
from settings.training import TeacherSettings
from tasks import identity

CONFIGS = str(Path(__file__).parents[2] / "configs")


class StopAt(Callback):
    """What a user's callback may do."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.should_stop = trainer.global_step >= self.step
        for logger in trainer.loggers:
            logger.log_metrics({"seen": trainer.global_step / 2}, trainer.global_step)


def plain(*overrides: str) -> dict:
    with initialize_config_dir(CONFIGS, version_base=None):
        config = compose("train", overrides=["experiment=mini_teacher", *overrides])
    return with_arguments(plain_settings(config))


def watching(*overrides: str) -> Watching:
    s = typed(TeacherSettings, plain(*overrides))
    return Watching(s.logger, s.callbacks, s.profiler)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_loggers_get_the_rows_of_metrics_csv(teacher, train, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "run"
    chosen = ("logger=[csv,tensorboard,wandb]", "logger.wandb.offline=true", "profiler=simple")
    train(teacher(), RunFolder(folder, "teacher"), 3, watching=watching(*chosen, f"run={folder}"))
    events = loading.EventAccumulator(str(folder / "tensorboard")).Reload()
    losses = {e.step: e.value for e in events.Scalars("loss")}
    table = {
        int(row["step"]): float(row["loss"]) for row in rows(folder / "metrics.csv") if row["loss"]
    }
    assert losses == pytest.approx(table, rel=1e-5) and losses.keys() == {1, 2, 3}
    assert len(events.Scalars("val_ce")) == 1
    assert list(folder.glob("wandb/offline-run-*/*.wandb"))
    assert "run_training_batch" in (folder / "profile/fit-simple.txt").read_text()


def test_a_callback_of_the_configuration_takes_part(teacher, train, tmp_path):
    folder = tmp_path / "run"
    one = f"+callbacks.stop={{_target_: {__name__}.StopAt, step: 2}}"
    used = watching(one, f"run={folder}")
    table = train(teacher(), run := RunFolder(folder, "teacher"), 6, watching=used)
    assert table["step"].max() == 2 and run.finished
    assert list(table["seen"].dropna()) == [0.5, 1.0]
    assert '"ended_at": 2' in (run.export / "model.json").read_text()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+callbacks.x={_target_: nowhere.Callback}", r"callbacks\.x: .*nowhere"),
        ("+callbacks.x={_target_: pathlib.Path}", r"callbacks\.x: _target_ has to make a Callback"),
        ("+callbacks.x={step: 3}", r"callbacks\.x: no _target_"),
    ],
)
def test_what_is_no_callback_is_named(override, message):
    with pytest.raises(ValueError, match=message):
        watching(override).make_callbacks()


def test_who_watches_changes_no_run_and_what_takes_part_does():
    base = identity(plain())
    assert identity(plain("logger=[csv,tensorboard]", "profiler=simple")) == base
    assert identity(plain("callbacks=device_stats")) != base


def test_an_argument_of_lightning_passes_and_others_are_refused():
    s = typed(TeacherSettings, plain("+trainer.gradient_clip_algorithm=value"))
    assert s.trainer.arguments == {"gradient_clip_algorithm": "value"}
    for override, message in {
        "+trainer.detect_anomalies=true": "unknown setting trainer.detect_anomalies: .*detect_anomaly",
        "+trainer.detect_anomaly=often": "trainer.detect_anomaly=often: .*boolean",
        "+trainer.max_steps=5": r"trainer\.max_steps: decided by steps=",
    }.items():
        with pytest.raises(SettingsError, match=message):
            typed(TeacherSettings, plain(override))
    assert trainer_arguments({"benchmark": None}) == {"benchmark": None}


def test_the_curves_grow_and_lose_what_is_computed_again(tmp_path):
    log = MetricsCsv(tmp_path / "new" / "metrics.csv")
    log.start(["step", "loss"], 0)
    for step in (1, 2, 3):
        log.log_metrics({"loss": step / 3}, step)
    log.log_metrics({"memory": 7}, 3)  # a column that nobody announced
    again = MetricsCsv(log.path)
    again.start(["step", "loss"], 2)
    again.log_metrics({"loss": 1, "memory": 8}, 3)
    assert rows(log.path) == [
        {"step": "1", "loss": "0.333333", "memory": ""},
        {"step": "2", "loss": "0.666667", "memory": ""},
        {"step": "3", "loss": "1", "memory": "8"},
    ]
