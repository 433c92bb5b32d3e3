"""The metric models of one evaluation behind small interfaces, and the cache of what they said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from eval.metrics.guard import SpeechDetector, guard_sha256
from eval.metrics.text.profiles import Profile
from eval.store.files import read_json, write_json


class ASR(Protocol):
    """Speech to text; see `eval.metrics.asr.whisper.WhisperASR`."""

    @property
    def key(self) -> str: ...
    def transcribe(self, wave: np.ndarray) -> str: ...


class Speaker(Protocol):
    """Speaker embeddings; see `eval.metrics.speaker.ge2e.GE2ESpeaker`."""

    @property
    def key(self) -> str: ...
    def embed(self, wave: np.ndarray) -> np.ndarray: ...


class MOS(Protocol):
    """Opinion scores; see `eval.metrics.mos.distillmos.DistillMOS`."""

    @property
    def key(self) -> str: ...
    def score(self, wave: np.ndarray) -> float: ...


class Cache:
    """Metric values on disk: `<root>/<metric key>/<first 2 digits>/<sha256 of the audio>.json`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = 0  # model calls since construction

    def get(self, key: str, sha256: str, compute: Callable[[], Any]) -> Any:
        """The cached value, or `compute()` stored. A damaged entry is computed again."""
        entry = self._entry(key, sha256)
        if entry is not None:
            return entry["value"]
        self.calls += 1
        value = compute()
        write_json(self._path(key, sha256), {"value": value})
        return value

    def put(self, key: str, sha256: str, value: Any) -> None:
        """Store what a model was asked besides `get`."""
        self.calls += 1
        write_json(self._path(key, sha256), {"value": value})

    def has(self, key: str, sha256: str) -> bool:
        """Whether `get` would call no model."""
        return self._entry(key, sha256) is not None

    def _entry(self, key: str, sha256: str) -> dict[str, Any] | None:
        entry = read_json(self._path(key, sha256))
        return entry if isinstance(entry, dict) and "value" in entry else None

    def _path(self, key: str, sha256: str) -> Path:
        return self.root / key / sha256[:2] / f"{sha256}.json"


@dataclass(frozen=True)
class Scorers:
    """The metric models and their cache; a metric without a model is left out of the rows."""

    asr: ASR
    speaker: Speaker | None
    mos: MOS | None
    cache: Cache
    profile: Profile
    language: str = "en"
    detector: SpeechDetector | None = None

    def protocol(self) -> dict[str, Any]:
        """What a score depends on besides the speech."""
        models = {
            m: getattr(getattr(self, m), "key", None) for m in ("asr", "speaker", "mos", "detector")
        }
        rules = {"profile": self.profile.name, "rules_sha256": self.profile.sha256}
        return {**rules, "language": self.language, **models, "guard_sha256": guard_sha256()}
