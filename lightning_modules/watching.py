"""Loggers, callbacks and profiler of a run, as its configuration names them (configs/logger, ...)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler

from lightning_modules.metrics_csv import MetricsCsv


@dataclass(frozen=True)
class Watching:
    """Each entry is a mapping with `_target_`, as `hydra.utils.instantiate` takes it. None of them is part of
    what a run makes but callbacks, which may do anything."""

    logger: Mapping[str, Mapping[str, Any]]
    callbacks: Mapping[str, Mapping[str, Any]]
    profiler: Mapping[str, Any] | None

    @classmethod
    def by_csv(cls, folder: Path) -> "Watching":
        """The curves alone, in `folder`/metrics.csv: for trainings inside of another command."""
        target = f"{MetricsCsv.__module__}.{MetricsCsv.__name__}"
        csv = {"_target_": target, "path": str(folder / "metrics.csv")}
        return cls({"csv": csv}, {}, None)

    def make_loggers(self) -> list[Logger]:
        """Raises ValueError for what is no logger, as the next two for theirs."""
        return [_made(f"logger.{name}", one, Logger) for name, one in self.logger.items()]

    def make_callbacks(self) -> list[Callback]:
        return [_made(f"callbacks.{name}", one, Callback) for name, one in self.callbacks.items()]

    def make_profiler(self) -> Profiler | None:
        return None if self.profiler is None else _made("profiler", self.profiler, Profiler)


def _made(key: str, settings: Mapping[str, Any], kind: type) -> Any:
    if "_target_" not in settings:
        raise ValueError(f"{key}: no _target_, the {kind.__name__} that it makes")
    try:
        made = instantiate(dict(settings))
    except (InstantiationException, ModuleNotFoundError) as error:
        cause = error.__cause__ or error
        raise ValueError(f"{key}: {str(error).splitlines()[0]} ({cause})") from error
    if not isinstance(made, kind):
        raise ValueError(
            f"{key}: _target_ has to make a {kind.__name__}, not {type(made).__name__}"
        )
    return made
