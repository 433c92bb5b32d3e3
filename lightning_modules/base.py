"""What the training loop needs of the module that it trains."""

from typing import Protocol

import lightning

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
