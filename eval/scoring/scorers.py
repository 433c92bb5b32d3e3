"""The metrics of one evaluation, what their values depend on, and the cache of what their models said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.metrics.clip import Scorer, Track
from eval.metrics.registry import build_scorers
from eval.metrics.settings import MetricSettings
from eval.metrics.setup import Setup, set_up
from eval.metrics.text.errors import word_error_recipe
from eval.metrics.text.profiles import Profile
from eval.metrics.weights import Unavailable
from eval.settings import Metrics
from eval.store.cache import Cache
from eval.store.files import InputError
from eval.store.manifest import check_device
from eval.testset import Item


@dataclass(frozen=True)
class Scorers:
    """Metrics by the name of their line in the registry; one that the settings leave out is not there."""

    setup: Setup
    metrics: Mapping[str, Scorer]
    cache: Cache

    @property
    def profile(self) -> Profile:
        return self.setup.profile

    @property
    def language(self) -> str:
        return self.setup.language

    def recipes(self) -> dict[str, dict[str, Any]]:
        """Metric -> everything that its values depend on besides the audio and the text, as JSON.

        Two evaluations may be compared by a metric when its recipes are equal. The word errors by a further
        recogniser are the metric `wer:<label>`.
        """
        recipes = {name: scorer.recipe for name, scorer in self.metrics.items()}
        for label in list(self.setup.recognisers)[1:]:
            recipes[f"wer:{label}"] = word_error_recipe(self.setup, label)
        return recipes

    def check(self) -> None:
        """Raise InputError for a model that cannot be had, as far as that shows without loading it."""
        try:
            for scorer in self.metrics.values():
                scorer.check()
        except Unavailable as error:
            raise InputError(str(error)) from error

    def prepare(self, items: Sequence[Item], track: Track = iter) -> None:
        """What metrics want before the first clip of a test set, as the voices of its prompts."""
        voices = {item.prompt_wav: item.voice for item in items if item.prompt_wav is not None}
        for scorer in self.metrics.values():
            scorer.prepare(voices, self.cache, track)


def scorers_of(settings: MetricSettings, cache: Path) -> Scorers:
    """The metrics that the settings ask for, checked. Loads no weights.

    Raises:
        InputError: a name that is not known, or a package or file that is not there, with what to do.
    """
    try:
        setup = set_up(settings)
        scorers = Scorers(setup, build_scorers(setup), Cache(cache))
    except Unavailable as error:
        raise InputError(str(error)) from error
    scorers.check()
    return scorers


def load_scorers(s: Metrics, language: str, device: str) -> Scorers:
    """As `scorers_of` for the settings of a stage, on a device that is there: theirs, or `device`."""
    check_device(device)
    if s.score_device is not None:
        check_device(s.score_device, "score_device")
    settings = MetricSettings(
        language=language,
        profile=s.profile,
        asr=s.asr if isinstance(s.asr, str) else tuple(s.asr),
        speaker=s.speaker,
        mos=s.mos,
        device=s.score_device or device,
        threads=s.threads,
        asr_batch=s.asr_batch,
        asr_tokens_per_s=s.asr_tokens_per_s,
    )
    return scorers_of(settings, s.cache)
