"""Names of recognisers in a configuration -> the recognisers, which load their weights at their first use."""

from __future__ import annotations

from eval.metrics.asr.openai import OpenAIWhisperASR
from eval.metrics.asr.paraformer import MODEL, ParaformerASR
from eval.metrics.asr.recogniser import Recogniser
from eval.metrics.asr.transformers import TransformersWhisperASR
from eval.metrics.asr.whisper import WhisperASR
from eval.metrics.settings import MetricSettings
from eval.metrics.weights import Unavailable

VALID = (
    "a size or folder for faster-whisper, openai:<size or file>, transformers:<folder or name@revision>, "
    "paraformer, paraformer:<folder>"
)


def load_recogniser(name: str, settings: MetricSettings, beam_search: bool = False) -> Recogniser:
    """One of VALID. `beam_search`: English is decoded as F5-TTS does it.

    Raises:
        Unavailable: a name, language or option that is not known, or does not go with the recogniser.
    """
    tool, colon, model = name.partition(":")
    language, device = settings.language, settings.device
    faster = not colon and tool != "paraformer"
    if beam_search and language == "en" and not faster:
        raise Unavailable(
            f"profile={settings.profile} hears English with the beam search of faster-whisper, not with "
            f"asr={name}: asr=large-v3, or another profile"
        )
    _refuse_options(name, settings, faster, batches=faster or tool == "transformers")
    if tool == "openai" and model:
        return OpenAIWhisperASR(model, language, device)
    if tool == "transformers" and model:
        return TransformersWhisperASR(model, language, device, settings.asr_batch)
    if tool == "paraformer" and (model or not colon):
        if language != "zh":
            raise Unavailable("asr=paraformer reads Chinese only; for English choose a Whisper")
        return ParaformerASR(model or MODEL, device)
    if not name or colon:
        raise Unavailable(f"unknown recogniser {name!r}; valid: asr={VALID}")
    if language != "en":
        raise Unavailable(f"asr={name} reads English here; for {language}: asr=paraformer")
    return WhisperASR(
        name,
        cpu_threads=settings.threads,
        device=device,
        batch=settings.asr_batch,
        tokens_per_s=settings.asr_tokens_per_s,
        beam_search=beam_search,
    )


def _refuse_options(name: str, settings: MetricSettings, faster: bool, batches: bool) -> None:
    """An option is obeyed or refused, never ignored."""
    if settings.asr_batch > 1 and not batches:
        raise Unavailable(
            f"asr_batch={settings.asr_batch}: asr={name} reads one clip at a time; asr_batch=1, or a "
            "faster-whisper size, or transformers:<name>"
        )
    if settings.asr_tokens_per_s is not None and not faster:
        raise Unavailable(
            f"asr_tokens_per_s={settings.asr_tokens_per_s:g}: only faster-whisper has such a limit, not "
            f"asr={name}; asr_tokens_per_s=null"
        )
    if settings.asr_batch < 1:
        raise Unavailable(f"asr_batch is at least 1, not {settings.asr_batch}")
