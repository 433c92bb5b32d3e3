"""Names of metric models in a configuration -> the models, which load their weights at their first use."""

from __future__ import annotations

from eval.metrics.asr.openai import OpenAIWhisperASR
from eval.metrics.asr.paraformer import MODEL, ParaformerASR
from eval.metrics.asr.transformers import TransformersWhisperASR
from eval.metrics.asr.whisper import WhisperASR
from eval.metrics.guard import SpeechDetector
from eval.metrics.mos.distillmos import DistillMOS
from eval.metrics.mos.dnsmos import DNSMOS
from eval.metrics.mos.utmos22 import UTMOS22
from eval.metrics.speaker.ecapa import SOURCE, ECAPASpeaker
from eval.metrics.speaker.ge2e import GE2ESpeaker
from eval.metrics.speaker.wavlm import WavLMSpeaker
from eval.metrics.text.profiles import profile_of
from eval.scoring.scorers import ASR, MOS, Scorers, Speaker
from eval.settings import Metrics
from eval.store.cache import Cache
from eval.store.files import InputError


def load_asr(
    name: str,
    language: str,
    device: str,
    threads: int,
    *,
    asr_device: str = "cpu",
    batch: int = 1,
    tokens_per_s: float | None = None,
) -> ASR:
    """`tiny.en`, `openai:large-v3`, `transformers:openai/whisper-large-v3`, `paraformer[:<folder>]`.

    Raises:
        InputError: a recogniser that does not know the language.
    """
    tool, _, model = name.partition(":")
    if tool == "openai":
        return OpenAIWhisperASR(model, language, device)
    if tool == "transformers":
        return TransformersWhisperASR(model, language, device)
    if tool == "paraformer":
        if language != "zh":
            raise InputError("asr=paraformer reads Chinese only; for English choose a Whisper")
        return ParaformerASR(model or MODEL, device)
    if language != "en":
        raise InputError(f"asr={name} reads English here; for {language}: asr=paraformer")
    own = {"device": asr_device, "batch": batch, "tokens_per_s": tokens_per_s}
    return WhisperASR(name, cpu_threads=threads, **own)


def load_speaker(name: str | None, device: str) -> Speaker | None:
    """`ge2e`, `ecapa`, `ecapa:<folder>`, `wavlm:<file>`, or None. Raises InputError for another name."""
    tool, _, where = (name or "").partition(":")
    if not tool:
        return None
    if tool == "ge2e":
        return GE2ESpeaker()
    if tool == "ecapa":
        return ECAPASpeaker(where or SOURCE, device)
    if tool == "wavlm" and where:
        return WavLMSpeaker(where, device)
    raise InputError(
        f"unknown speaker encoder {name!r}; valid: ge2e, ecapa, ecapa:<folder>, "
        "wavlm:<wavlm_large_finetune.pth>"
    )


def load_mos(name: str | bool | None, device: str) -> MOS | None:
    """`distillmos`, `dnsmos`, `utmos22`, `utmos22:<folder>`, or nothing (null, false).

    Raises InputError for another name.
    """
    tool, _, where = str(name or "").partition(":")
    if not tool:
        return None
    if tool == "distillmos":
        return DistillMOS()
    if tool == "dnsmos":
        return DNSMOS()
    if tool == "utmos22":
        return UTMOS22(where or None, device)
    raise InputError(
        f"unknown MOS model {name!r}; valid: distillmos, dnsmos, utmos22, utmos22:<folder>"
    )


def load_scorers(s: Metrics, language: str, device: str) -> Scorers:
    """What evaluate.py's configuration asks for. Raises InputError, naming what is valid."""
    try:
        profile = profile_of(s.profile, language)
    except ValueError as error:
        raise InputError(str(error)) from error
    return Scorers(
        load_asr(
            *(s.asr, language, device, s.threads),
            asr_device=s.asr_device,
            batch=s.asr_batch,
            tokens_per_s=s.asr_tokens_per_s,
        ),
        load_speaker(s.speaker, device),
        load_mos(s.mos, device),
        Cache(s.cache),
        profile,
        language,
        SpeechDetector(),
    )
