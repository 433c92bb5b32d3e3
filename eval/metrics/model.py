"""What every metric model shares: a recipe, the key that follows from it, and a check before anything runs."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from typing import Any


def short_hash(value: Any) -> str:
    """Twelve hex digits of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


class MetricModel(ABC):
    """A network or tool that says something of a wave. Its weights load at their first use."""

    kind: str  # the room: "asr", "speaker", "mos", "vad"

    @property
    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """Everything that its output depends on besides the audio, as JSON: `tool`, version, weights, code."""

    @property
    def key(self) -> str:
        """The recipe as a name: what a cache keeps its output under."""
        tool = re.sub(r"[^a-z0-9]+", "-", str(self.recipe["tool"]).lower()).strip("-")
        return f"{self.kind}-{tool}-{short_hash(self.recipe)}"

    def check(self) -> None:
        """Whether it can be had, without loading it: raises Unavailable, saying what to do."""
        return
