"""What `train.py` can do for MambaVoiceCloning, one function per task."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from torch import nn

from data.mvc_batches import MVCDataModule
from lightning_modules.base import TrainedModule
from lightning_modules.identity import result_settings
from lightning_modules.launched import shared_step
from lightning_modules.mvc import MVCModule
from lightning_modules.mvc_aligner import AlignerModule
from lightning_modules.run_folder import RunFolder
from lightning_modules.running import train_in
from lightning_modules.trainer_settings import TrainingLength
from mamtra.mvc.aligner import Aligner, AlignerSizes
from mamtra.mvc.arms import arm_of
from mamtra.mvc.folder import load_mvc
from mamtra.mvc.model import MVC, build
from mamtra.mvc.sizes import MVCSizes
from mamtra.systems import load_text
from settings import SettingsError
from settings.mvc import START_PARTS, AlignerSettings, MVCCellSettings, MVCSettings

EXPORT, ALIGNER = "mvc", "aligner"


def model_of(s: MVCSettings) -> MVC:
    """The model of an arm, its decoder or all of it that of `start` where one is named.

    Raises ValueError for an arm that is none, SettingsError for a `start` of another arm or other sizes.
    """
    vocab = load_text(s.text, s.paths.cosyvoice2).vocab_size
    model = build(MVCSizes(vocab=vocab, **asdict(s.sizes)), s.conditioning)
    if s.start_parts not in START_PARTS:
        raise SettingsError(f"start_parts={s.start_parts}: valid are {', '.join(START_PARTS)}")
    if s.start is None:
        return model
    given = load_mvc(s.start)
    if s.start_parts != "decoder" and given.arm != s.conditioning:
        raise SettingsError(
            f"start={s.start} is of conditioning={given.arm}, not {s.conditioning}: start_parts=decoder "
            "takes its decoder alone"
        )
    try:
        for mine, theirs in zip(
            _parts(model, s.start_parts), _parts(given, s.start_parts), strict=True
        ):
            mine.load_state_dict(theirs.state_dict())
    except RuntimeError as error:
        raise SettingsError(f"start={s.start}: it has other sizes ({error})") from error
    return model


def _parts(model: MVC, which: str) -> list[nn.Module]:
    """Those that a key of START_PARTS names."""
    conditioning = [] if which == "decoder" else model.conditioning()
    return conditioning if which == "conditioning" else [*conditioning, model.decoder]


def train_mvc(s: MVCSettings, own: Mapping[str, Any]) -> None:
    """task=mvc."""
    arm_of(s.conditioning)
    if s.text != "phonemes":
        raise SettingsError(f"text={s.text}: durations are of phonemes; text=phonemes")
    if s.decoder.frozen_steps and s.start is None:
        raise SettingsError(
            "decoder.frozen_steps without start=<model>: a decoder as it was drawn would stay so"
        )

    def made() -> tuple[MVCModule, MVCDataModule]:
        reads_mel = s.sizes.reference != "ge2e"
        data = MVCDataModule(
            s.paths.corpus, s.paths.durations, **asdict(s.batch), seed=s.seed, mel=reads_mel
        )
        return MVCModule(model_of(s), s.optimizer, s.weights, s.decoder), data

    inputs: dict[str, Path] = {
        "corpus": s.paths.corpus / "manifest.csv",
        "durations": s.paths.durations,
    }
    if s.start is not None:
        inputs["start"] = s.start
    _train(s, own, EXPORT, inputs, made)


def train_aligner(s: AlignerSettings, own: Mapping[str, Any]) -> None:
    """task=mvc_aligner."""
    times = s.paths.durations if s.timed else None

    def made() -> tuple[AlignerModule, MVCDataModule]:
        data = MVCDataModule(s.paths.corpus, times, **asdict(s.batch), seed=s.seed, mel=False)
        vocab = load_text(s.text, s.paths.cosyvoice2).vocab_size
        return AlignerModule(Aligner(AlignerSizes(vocab, s.width)), s.optimizer), data

    inputs: dict[str, Path] = {"corpus": s.paths.corpus / "manifest.csv"}
    _train(s, own, ALIGNER, inputs, made)


def _train(
    s: MVCSettings | AlignerSettings,
    own: Mapping[str, Any],
    name: str,
    inputs: Mapping[str, Path],
    made: Callable[[], tuple[TrainedModule, MVCDataModule]],
) -> None:
    train_in(
        *(RunFolder(s.run, name), made, own, inputs, s.overwrite),
        length=TrainingLength(s.seed, s.steps, s.epochs),
        trainer=s.trainer,
        watching=s.watching,
    )


def sweep_mvc_cell(s: MVCCellSettings, own: Mapping[str, Any]) -> None:
    """task=mvc_cell: `studies.grid` trains and evaluates it in processes of their own."""
    # Here, because a grid is scored and so needs the [eval] extra; training alone does not.
    from studies.grid import axes, check_version, run_cell, sweep_size
    from studies.mvc_grid import MVCCell, mvc_stages
    from studies.tasks_of_step import join

    for name in (s.conditioning, s.cell.baseline):
        arm_of(name)
    job, grid = HydraConfig.get(), s.run
    given, total = tuple(job.overrides.task), sweep_size(job.sweeper.get("params") or {}, sys.argv)
    length = {"steps": s.steps, "epochs": s.epochs}  # another length is another cell
    settings = result_settings({**own, "task": "mvc"}) | length
    cell = MVCCell(s.conditioning, s.seed, axes(given), s.cell.baseline, settings)
    todo = mvc_stages(cell, grid, given, s.cell.evaluate)
    step = shared_step(s.trainer.world_size, job.job.num)
    if step is None or step.rank == 0:
        check_version(grid, s.cell.mix)
        run_cell(grid, cell, todo, total, step)
    else:
        join(grid / "works" / cell.work, step, todo[0].argv)


# name of a task: (its settings, what does it), as `tasks.Task` has them
MVC_TASKS: Mapping[str, tuple[type[Any], Callable[[Any, Mapping[str, Any]], object]]] = {
    "mvc": (MVCSettings, train_mvc),
    "mvc_cell": (MVCCellSettings, sweep_mvc_cell),
    "mvc_aligner": (AlignerSettings, train_aligner),
}
