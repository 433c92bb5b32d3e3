"""What the training loop needs of the module that it trains."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import lightning
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from lightning_modules.optim import OptimizerSettings, build_optimizer
from mamtra.backbone.ssd import backend
from mamtra.lm.checkpoint import load_lm, save_lm


class TrainingData(Protocol):
    """A LightningDataModule that knows how long its epochs are, and which setting bounds its batches:
    `budget_unit` of `budget_setting` are one padded position."""

    @property
    def budget_setting(self) -> str: ...
    @property
    def budget_unit(self) -> float: ...

    def count_steps(self, epochs: int, world_size: int, accumulate: int) -> int:
        """Optimiser steps of the first `epochs` epochs."""
        ...


class Batch(Protocol):
    """What the loop reads of a batch."""

    @property
    def utterances(self) -> tuple[str, ...]:
        """Names for messages; () for a batch that is there for a rank that has none."""
        ...

    @property
    def n_tokens(self) -> int:
        """Real positions, without padding."""
        ...

    @property
    def n_padded(self) -> int:
        """Positions with padding."""
        ...


class TrainedModule(lightning.LightningModule):
    """`metric_names` are the metrics it logs, those of validation start with "val_"; "loss" is among them.
    `monitor` is the one whose lowest value marks the best weights.
    """

    metric_names: tuple[str, ...]
    monitor: str
    _counts = True  # whether the batch that is validated is one

    @property
    def follows_length(self) -> bool:
        """Whether the learning rate of a step depends on how many there will be."""
        return True

    def save_model(self, path: Path, provenance: Mapping[str, Any], dtype: str) -> None:
        """Writes what the run makes to `path` ("fp32", "fp16" or "bf16"), whole or not at all."""
        raise NotImplementedError

    def restore_model(self, path: Path) -> None:
        """Takes over the weights that `save_model` wrote to `path`."""
        raise NotImplementedError

    def runtime(self, device: torch.device) -> dict[str, str]:
        """What else decides about the numbers of a run on `device`."""
        return {}

    def setup(self, stage: str) -> None:
        if "validation_means" not in self._modules:  # Lightning remembers a module's metrics
            # Not part of the state: a validation is never half done where one is saved.
            names = [name for name in self.metric_names if name.startswith("val_")]
            self.validation_means = nn.ModuleDict({name: MeanMetric() for name in names})

    def on_validation_batch_start(
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A batch of no utterances is there for a rank that has none, so that it waits with the others."""
        self._counts = bool(batch.utterances)

    def log_training(self, values: Mapping[str, Tensor], n: int) -> None:
        """Logs the training metrics of a batch of `n` things: NaN for those that it does not have."""
        nothing = torch.tensor(torch.nan, device=self.device)
        names = [name for name in self.metric_names if not name.startswith("val_")]
        terms = {name: values.get(name, nothing).detach() for name in names}
        self.log_dict(terms, batch_size=n, logger=False)

    def log_validation(self, values: Mapping[str, Tensor], n: int) -> None:
        """Logs means over `n` things of this batch, so that all batches of all ranks weigh by their n."""
        for name, value in values.items():
            metric: Any = self.validation_means[name]
            if self._counts:
                metric.update(value.detach(), n)
            else:
                metric.update(0.0, 0)
            self.log(name, metric, batch_size=1, logger=False)


class LanguageModelModule(TrainedModule):
    """Trains `model`. One of another kind of model writes and reads it in another way."""

    model: Any  # of language models a SpeechLM
    optimizer_settings: OptimizerSettings
    fresh_names: Collection[str] = ()  # parameters without a source in a teacher

    @property
    def follows_length(self) -> bool:
        return self.optimizer_settings.follows_length

    def save_model(self, path: Path, provenance: Mapping[str, Any], dtype: str) -> None:
        save_lm(path, self.model, dict(provenance), dtype)

    def restore_model(self, path: Path) -> None:
        self.model.load_state_dict(load_lm(path).state_dict())

    def runtime(self, device: torch.device) -> dict[str, str]:
        return {"ssd": backend(device)}

    def configure_optimizers(self):
        """Lightning's form of `build_optimizer`, with a schedule that moves every step."""
        optimizer, schedule = build_optimizer(
            self.model,
            self.trainer.max_steps,
            self.optimizer_settings,
            self.fresh_names,
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]
