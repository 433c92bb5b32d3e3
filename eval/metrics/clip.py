"""One utterance as a metric sees it, and what a metric is.

A metric of clips is a `Scorer`: a file in this folder and a line in `eval.metrics.registry.METRICS`. N samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from eval.metrics.audio import Audio
from eval.metrics.guard import Span

Track = Callable[[Sequence[Any]], Iterable[Any]]  # passes on what it is given, with a bar


class Memory(Protocol):
    """What the models said before: `eval.scoring.scorers.Cache`."""

    def get(self, key: str, sha256: str, compute: Callable[[], Any]) -> Any: ...


@dataclass(frozen=True)
class Hearing:
    """What one recogniser heard, raw and as the words that are compared."""

    transcript: str
    words: str


@dataclass(frozen=True)
class Clip:
    """One utterance.

    reference: the text's words after normalisation, "" when it has none.
    hearings: recogniser's label -> what it heard; one that failed is left out. `first` is the main one's label.
    speech: stretches of speech in samples at 16 kHz; None when nobody looked.
    prompt, recording: sound files, None where the list has none.
    """

    audio: Audio
    text: str
    reference: str
    hearings: Mapping[str, Hearing]
    first: str
    speech: tuple[Span, ...] | None
    prompt: Path | None
    recording: Path | None
    memory: Memory

    @property
    def wave(self) -> np.ndarray:
        """(N,) float32 mono at 16 kHz."""
        assert self.audio.wave is not None, "asked of a clip without usable audio"
        return self.audio.wave

    @property
    def heard(self) -> Hearing | None:
        """By the main recogniser; None when there is no usable audio, or it failed."""
        return self.hearings.get(self.first)

    def remember(self, key: str, compute: Callable[[], Any]) -> Any:
        """`compute()`, or what it gave for the same audio and key before. JSON values only."""
        return self.memory.get(key, self.audio.sha256, compute)


class Scorer(ABC):
    """A metric of one clip."""

    needs_audio = True  # False: asked of clips without usable audio too

    @property
    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """Everything that its values depend on besides the audio and the text, as JSON."""

    @abstractmethod
    def score(self, clip: Clip) -> dict[str, Any]:
        """Column -> value for this clip; a column without a value may be left out.

        What it raises is the reason that the row states for having no value; Unavailable ends the run.
        """

    def check(self) -> None:
        """Whether its model can be had, without loading it: raises Unavailable, saying what to do."""
        return

    def prepare(self, voices: Mapping[Path, str], memory: Memory, track: Track) -> None:
        """Called once before the clips. `voices`: every prompt wav of the test set -> its voice."""
        return
