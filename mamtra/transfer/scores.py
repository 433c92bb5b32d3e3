"""Importance scores on disk: one JSON file per teacher and mode."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mamtra.backbone.layer_plan import MEASURED
from mamtra.lm.checkpoint import model_sha256


@dataclass(frozen=True)
class LayerScore:
    """Importance of one layer with its 95 % interval: the highest stay attention."""

    score: float
    low: float
    high: float


@dataclass(frozen=True)
class ImportanceScores:
    """Scores of every layer of one teacher.

    unit: what a score is ("1 - cosine", "WER", "nats"); n: sequences it was measured on; settings:
    what else it depends on (seed, ASR, steps, ...).
    """

    mode: str
    unit: str
    teacher_sha256: str
    n: int
    settings: dict[str, Any]
    software: dict[str, str]
    layers: tuple[LayerScore, ...]

    @property
    def values(self) -> list[float]:
        return [layer.score for layer in self.layers]

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=1) + "\n")
        os.replace(partial, path)


def load_scores(path: Path, mode: str, teacher: Path) -> ImportanceScores:
    """Scores of `mode` for the teacher in a folder.

    Raises FileNotFoundError (naming the command that makes the file) and ValueError for a file that
    is not of this kind, of another mode, or made for another teacher.
    """
    if mode not in MEASURED:
        raise ValueError(f"no importance mode {mode!r}; valid modes: {', '.join(MEASURED)}")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: make it with `python importance.py mode={mode}`"
        )
    try:
        content = json.loads(path.read_text())
        layers = tuple(LayerScore(**layer) for layer in content.pop("layers"))
        scores = ImportanceScores(**content, layers=layers)
    except (json.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not a file of importance scores: {error}") from error
    if scores.mode != mode:
        raise ValueError(f"{path} holds {scores.mode} scores, not {mode}")
    found = model_sha256(teacher)
    if scores.teacher_sha256 != found:
        raise ValueError(
            f"{path} was made for another teacher: {scores.teacher_sha256[:12]}, but {teacher} is "
            f"{found[:12]}; make it again with `python importance.py mode={mode}`"
        )
    return scores
