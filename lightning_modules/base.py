"""What the training loop needs of the module that it trains."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import lightning
import torch
from torch import Tensor, nn

from lightning_modules.optim import OptimizerSettings, build_optimizer
from mamtra.lm.checkpoint import load_lm, save_lm


class TrainingData(Protocol):
    """A LightningDataModule that knows how long its epochs are."""

    def count_steps(self, epochs: int, world_size: int, accumulate: int) -> int:
        """Optimiser steps of the first `epochs` epochs."""
        ...


class LanguageModelModule(lightning.LightningModule):
    """Trains `model`. `metric_names` are the metrics it logs, those of validation start with "val_";
    `monitor` is the one whose lowest value marks the best weights.
    """

    model: Any  # of language models a SpeechLM
    # How what it trains is written and read; a module of another kind of model has others.
    save_model: Callable[..., Path] = staticmethod(save_lm)
    load_model: Callable[[Path], nn.Module] = staticmethod(load_lm)
    metric_names: tuple[str, ...]
    monitor: str
    optimizer_settings: OptimizerSettings
    fresh_names: Collection[str] = ()  # parameters without a source in a teacher
    _counts = True  # whether the batch that is validated is one

    def on_validation_batch_start(
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A batch of no utterances is there for a rank that has none, so that it waits with the others."""
        self._counts = bool(batch.utterances)

    def log_validation(self, values: Mapping[str, Tensor], n: int) -> None:
        """Logs means over `n` things of this batch, so that all batches of all ranks weigh by their n."""
        if not self._counts:
            values, n = {name: torch.zeros_like(value) for name, value in values.items()}, 0
        # Lightning averages the ranks' counts in whole numbers: an odd sum of two would lose a half.
        self.log_dict(dict(values), batch_size=n * self.trainer.world_size, sync_dist=True)

    def configure_optimizers(self):
        """Lightning's form of `build_optimizer`, with a schedule that moves every step."""
        optimizer, schedule = build_optimizer(
            self.model,
            self.trainer.max_steps,
            self.optimizer_settings,
            self.fresh_names,
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]
