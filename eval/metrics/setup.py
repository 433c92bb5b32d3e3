"""What all metrics of an evaluation share: settings, rules for texts, recognisers, who finds speech."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eval.metrics.asr.load import load_recogniser
from eval.metrics.asr.recogniser import Recogniser
from eval.metrics.guard import SpeechDetector
from eval.metrics.settings import MetricSettings
from eval.metrics.speaker.encoder import SpeakerEncoder
from eval.metrics.speaker.load import load_speaker
from eval.metrics.text.profiles import Profile, profile_of
from eval.metrics.weights import Unavailable


@dataclass(frozen=True)
class Setup:
    """Recognisers by label, the main one first. `detector`: None where nobody looks for speech; `speaker`: None
    without similarities."""

    settings: MetricSettings
    profile: Profile
    recognisers: Mapping[str, Recogniser]
    detector: SpeechDetector | None
    speaker: SpeakerEncoder | None

    @property
    def language(self) -> str:
        return self.settings.language

    @property
    def first(self) -> str:
        """Label of the main recogniser."""
        return next(iter(self.recognisers))


def set_up(settings: MetricSettings) -> Setup:
    """Raises Unavailable for a name that is not known; loads nothing."""
    profile = profile_of(settings.profile, settings.language)
    names = (settings.asr,) if isinstance(settings.asr, str) else tuple(settings.asr)
    if not names or len(set(names)) < len(names):
        raise Unavailable(f"asr= names recognisers, each once; it is {list(names)}")
    recognisers = {name: load_recogniser(name, settings, profile.beam_search) for name in names}
    speaker = load_speaker(settings.speaker, settings.device) if settings.speaker else None
    return Setup(settings, profile, recognisers, SpeechDetector(), speaker)
