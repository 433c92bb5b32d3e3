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
    "a size or folder for faster-whisper, openai:<size or file>, transformers:<name or folder>, "
    "paraformer, paraformer:<folder>"
)


def load_recogniser(name: str, settings: MetricSettings) -> Recogniser:
    """One of VALID. Raises Unavailable for a name, language or option that it does not know."""
    tool, colon, model = name.partition(":")
    language, device = settings.language, settings.device
    if tool == "openai" and model:
        return OpenAIWhisperASR(model, language, device)
    if tool == "transformers" and model:
        return TransformersWhisperASR(model, language, device)
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
    )
