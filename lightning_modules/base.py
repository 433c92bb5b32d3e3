"""What the training loop needs of the module that it trains."""

import lightning

from mamtra.lm.speech_lm import SpeechLM


class LanguageModelModule(lightning.LightningModule):
    """Trains `model`. `metric_names` are the metrics it logs, those of validation start with "val_";
    `monitor` is the one whose lowest value marks the best weights.
    """

    model: SpeechLM
    metric_names: tuple[str, ...]
    monitor: str
