"""What the training loop needs of the module that it trains."""

from collections.abc import Collection
from typing import Any, Protocol

import lightning

from lightning_modules.optim import build_optimizer
from mamtra.lm.speech_lm import SpeechLM


class TrainingData(Protocol):
    """A LightningDataModule that knows how long its epochs are."""

    def count_steps(self, epochs: int, world_size: int) -> int:
        """Training batches of the first `epochs` epochs, per rank."""
        ...


class LanguageModelModule(lightning.LightningModule):
    """Trains `model`. `metric_names` are the metrics it logs, those of validation start with "val_";
    `monitor` is the one whose lowest value marks the best weights.
    """

    model: SpeechLM
    metric_names: tuple[str, ...]
    monitor: str
    optimizer_settings: dict[str, Any]  # keyword arguments of `build_optimizer`
    fresh_names: Collection[str] = ()  # parameters without a source in a teacher

    def configure_optimizers(self):
        """Lightning's form of `build_optimizer`, with a schedule that moves every step."""
        optimizer, schedule = build_optimizer(
            self.model,
            max_steps=self.trainer.max_steps,
            fresh_names=self.fresh_names,
            **self.optimizer_settings,
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]
