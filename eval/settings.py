"""The settings of every stage of evaluate.py; their meaning and values are in configs/stage/.

A stage's class holds just the keys that its configuration has. What measures cost has its own in
`eval.efficiency.settings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Named = str | list[str] | dict[str, str] | None


@dataclass(frozen=True)
class SystemSettings:
    """The speech system around a language model: its codec's folder, options of its sampling, and how the
    language model is run."""

    codec: Path
    sampling: dict[str, Any]
    dtype: Literal["fp32", "bf16", "fp16"]
    compiled: bool


@dataclass(frozen=True)
class TestSetSettings:
    """A list, its language, and held-out tokens for the cross-entropy."""

    __test__ = False  # no test of pytest's

    meta: Path
    language: str
    tokens: Path | None


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every stage has."""

    stage: str
    paths: dict[str, Any]
    threads: int


@dataclass(frozen=True, kw_only=True)
class Systems(Common):
    """configs/stage/_systems.yaml."""

    system: SystemSettings
    testset: TestSetSettings
    model: str | None
    models: Named
    wavs: Named
    name: str | None
    limit: int | None
    text: str | None
    prompt: str | None
    prompt_text: str | None
    seed_index: int
    split: bool
    cross_lingual: bool
    batch: int
    device: str | list[str]
    shard: str
    out: Path

    def __post_init__(self) -> None:
        if not self.device:
            raise ValueError("device=[]: name at least one, such as device=cpu")

    @property
    def only_device(self) -> str:
        """The device of this process; the first of several."""
        return self.device if isinstance(self.device, str) else self.device[0]


@dataclass(frozen=True, kw_only=True)
class Metrics(Common):
    """configs/stage/_metrics.yaml."""

    asr: str | list[str]
    asr_batch: int
    asr_tokens_per_s: float | None
    profile: str
    speaker: str | None
    mos: str | None
    score_device: str | None
    ce_limit: int | None
    cache: Path


@dataclass(frozen=True, kw_only=True)
class Page(Common):
    """configs/stage/_report.yaml."""

    title: str
    baseline: str | None
    n_examples: int
    allow_partial: bool
    out: Path


@dataclass(frozen=True, kw_only=True)
class Synthesize(Systems):
    """stage=synthesize."""


@dataclass(frozen=True, kw_only=True)
class Score(Systems, Metrics):
    """stage=score."""


@dataclass(frozen=True, kw_only=True)
class All(Score, Page):
    """stage=all."""


@dataclass(frozen=True, kw_only=True)
class Report(Page):
    """stage=report."""

    systems: Sequence[str] | None


@dataclass(frozen=True, kw_only=True)
class Compare(Common):
    """stage=compare."""

    results: Path
    baseline: str | None
    margin: float


@dataclass(frozen=True, kw_only=True)
class Board(Common):
    """stage=board."""

    results: Path
    out: Path
    title: str
    baseline: str | None
    n_worst: int
    audio: bool


@dataclass(frozen=True, kw_only=True)
class Listening(Common):
    """stage=listening."""

    results: Path
    out: Path
    title: str
    kind: str
    baseline: str | None
    n_items: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Ratings(Common):
    """stage=ratings."""

    ratings: Path
    key: Path | None


@dataclass(frozen=True, kw_only=True)
class Prosody(Common):
    """stage=prosody."""

    testset: TestSetSettings
    results: Path
    floor: str | None
    ceiling: str | None
    baseline: str | None
    trackers: list[str]
    workers: int


@dataclass(frozen=True, kw_only=True)
class Drift(Common):
    """stage=drift."""

    results: Path
    speaker: str | None
    tracker: str


@dataclass(frozen=True, kw_only=True)
class Play(Common):
    """stage=play."""

    system: SystemSettings
    testset: TestSetSettings
    model: str | None
    models: Named
    asr: str
    profile: str
    device: str
    port: int | None


def plain(s: Common) -> dict[str, Any]:
    """Settings as JSON values, for records."""

    def value(one: Any) -> Any:
        if isinstance(one, Mapping):
            return {key: value(inner) for key, inner in one.items()}
        return [value(inner) for inner in one] if isinstance(one, list | tuple) else one

    return {
        key: str(one) if isinstance(one, Path) else value(one)
        for key, one in _flat(asdict(s)).items()
    }


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, one in nested.items():
        if key == "paths":
            continue
        found |= _flat(one, f"{prefix}{key}.") if isinstance(one, dict) else {f"{prefix}{key}": one}
    return found
