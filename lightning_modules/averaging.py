"""A running mean of the weights (exponential moving average), and which weights a run then keeps."""

from typing import Any

from lightning.pytorch.callbacks import EMAWeightAveraging, WeightAveraging


class Averaging(EMAWeightAveraging):
    """Lightning's: w <- decay w + (1 - decay) weights after every step. Validation, best weights, kept models
    and the export are of w; the checkpoint has both, so that a resumed run goes on with both.

    Raises ValueError for a `decay` outside [0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay}: at least 0 and less than 1")
        super().__init__(decay=decay)


def kept_of(trainer: Any, module: Any) -> Any:
    """The module whose weights a run keeps: the average where a callback of `trainer` has one, or `module`."""
    for callback in trainer.callbacks:
        if isinstance(callback, WeightAveraging) and callback._average_model is not None:
            return callback._average_model.module
    return module
