"""Names of speaker encoders in a configuration -> the encoders, which load their weights at their first use."""

from __future__ import annotations

from eval.metrics.speaker.ecapa import SOURCE, ECAPASpeaker
from eval.metrics.speaker.encoder import SpeakerEncoder
from eval.metrics.speaker.ge2e import GE2ESpeaker
from eval.metrics.speaker.wavlm import WavLMSpeaker
from eval.metrics.weights import Unavailable

VALID = "ge2e, ecapa, ecapa:<folder>, wavlm:<wavlm_large_finetune.pth>"


def load_speaker(name: str, device: str) -> SpeakerEncoder:
    """One of VALID. Raises Unavailable for another name."""
    tool, _, where = name.partition(":")
    if name == "ge2e":
        return GE2ESpeaker(device)
    if tool == "ecapa" and name != "ecapa:":
        return ECAPASpeaker(where or SOURCE, device)
    if tool == "wavlm" and where:
        return WavLMSpeaker(where, device)
    raise Unavailable(f"unknown speaker encoder {name!r}; valid: speaker={VALID}, or null")
