"""More losses for a student, by name: a function here, a line `more: {<name>: <weight>}` in configs/objective.

The three of the paper are in `objectives` and `distill`.  B batch, T time, D d_model.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from mamtra.lm.sequence import SequenceBatch
from mamtra.lm.speech_lm import SpeechLM


@dataclass(frozen=True)
class Compared:
    """What a loss can look at: both models on one batch, and their states (B, T, D) before the speech head.

    `targets` (B, T) bool: where something is predicted, which most losses are a mean over.
    """

    teacher: SpeechLM
    student: SpeechLM
    batch: SequenceBatch
    teacher_last: Tensor
    student_last: Tensor
    targets: Tensor


Loss = Callable[[Compared], Tensor]
LOSSES: dict[str, Loss] = {}


def loss(function: Loss) -> Loss:
    """Makes `function`, which returns a scalar, the loss of its name."""
    LOSSES[function.__name__] = function
    return function
