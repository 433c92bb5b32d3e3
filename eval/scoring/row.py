"""One utterance's row: what the metric models say of its wav, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.audio import Audio, read_audio
from eval.metrics.guard import WINDOW_S, Span, loops, transcribe_long
from eval.metrics.speaker.ge2e import similarities
from eval.metrics.text.wer import missing_words, word_errors
from eval.metrics.weights import Unavailable
from eval.scoring.scorers import Scorers
from eval.store.files import sha256_file
from eval.testset import Item

# Every row has exactly one of these. The first six describe the wav.
STATUSES = (
    "ok",
    "missing",
    "corrupt",
    "empty",
    "silent",
    "nan",
    "prompt_missing",
    "asr_error",
    "ref_empty",
)
# What a row can be marked with besides: see `_flags`.
FLAGS = ("long", "no_speech", "loop")
Row = dict[str, Any]


def file_hash(path: Path) -> str | None:
    """sha256 of a file, None without one."""
    return sha256_file(path) if path.is_file() else None


def embed_prompts(items: Iterable[Item], scorers: Scorers) -> dict[str, np.ndarray]:
    """Embedding of each distinct prompt wav that can be read, by its path."""
    prompts: dict[str, np.ndarray] = {}
    if scorers.speaker is None:
        return prompts
    for item in items:
        key = str(item.prompt_wav)
        if item.prompt_wav is None or key in prompts:
            continue
        audio = read_audio(item.prompt_wav)
        if audio.wave is not None:
            prompts[key] = _embedding(scorers, audio)
    return prompts


def _embedding(scorers: Scorers, audio: Audio) -> np.ndarray:
    speaker, wave = scorers.speaker, audio.wave
    assert speaker is not None and wave is not None
    embed = lambda: [float(v) for v in speaker.embed(wave)]  # noqa: E731
    return np.asarray(scorers.cache.get(speaker.key, audio.sha256, embed), dtype=np.float64)


def score_one(
    item: Item,
    wavs: Path,
    scorers: Scorers,
    prompts: Mapping[str, np.ndarray],
    voices: Mapping[str, str],
) -> Row:
    """The row of one item. Raises Unavailable for a model that cannot be had; other faults are its status."""
    path = wavs / f"{item.utterance}.wav"
    audio = read_audio(path)
    reference = scorers.profile.normalise(item.text, scorers.language)
    row: Row = {
        "utterance": item.utterance,
        "status": audio.status,
        "detail": audio.detail,
        "flags": [],
        "prompt": item.prompt_wav.name if item.prompt_wav else None,
        "text": item.text,
        "transcript": None,
        "wer": None,
        "substitutions": None,
        "deletions": None,
        "insertions": None,
        "guarded_errors": None,
        "reference_words": len(reference.split()),
        "sim_prompt": None,
        "sim_other": None,
        "sim_recording": None,
        "mos": None,
        "duration_s": audio.duration_s,
        "silence_end_s": None,
        "wav_sha256": file_hash(path),
    }
    if audio.wave is not None:
        spans = _spans(audio, scorers)
        _add_speaker(row, audio, item, scorers, prompts, voices)
        _add_mos(row, audio, scorers)
        _add_transcript(row, audio, spans, scorers)
        _add_flags(row, audio, spans)
    if not reference.split():
        # Without reference words there is no rate: the row is expected but not scored.
        row["status"], row["detail"] = "ref_empty", "the text has no words after normalisation"
    else:
        _add_word_errors(row, reference, scorers)
    return row


def _spans(audio: Audio, scorers: Scorers) -> list[Span] | None:
    detector, wave = scorers.detector, audio.wave
    if detector is None:
        return None
    assert wave is not None
    return scorers.cache.get(detector.key, audio.sha256, lambda: detector.spans(wave))


def _add_transcript(row: Row, audio: Audio, spans: list[Span] | None, scorers: Scorers) -> None:
    wave = audio.wave
    assert wave is not None
    try:
        row["transcript"] = scorers.cache.get(
            _transcript_key(audio, scorers),
            audio.sha256,
            lambda: transcribe_long(wave, spans or [], scorers.asr.transcribe),
        )
    except Unavailable:  # of the set-up, not of this row
        raise
    except Exception as error:
        row["status"], row["detail"] = "asr_error", f"{type(error).__name__}: {error}"


def _transcript_key(audio: Audio, scorers: Scorers) -> str:
    """The recogniser, and for a clip that is read in parts what cuts it."""
    detector = scorers.detector
    parts = audio.duration_s > WINDOW_S and detector is not None
    return f"{scorers.asr.key}-{detector.key}" if parts and detector else scorers.asr.key


def _add_flags(row: Row, audio: Audio, spans: list[Span] | None) -> None:
    """ "long": longer than the recogniser's window; "no_speech": nobody speaks, whatever was heard; "loop"."""
    assert audio.wave is not None
    if audio.duration_s > WINDOW_S:
        row["flags"].append("long")
    if spans is not None:
        end_s = spans[-1][1] / 16_000 if spans else 0.0
        row["silence_end_s"] = round(max(0.0, len(audio.wave) / 16_000 - end_s), 2)
        if not spans:
            row["flags"].append("no_speech")
    if loops(row["transcript"] or ""):
        row["flags"].append("loop")


def _add_word_errors(row: Row, reference: str, scorers: Scorers) -> None:
    """Word errors; an utterance without a transcript counts as all words deleted.

    `guarded_errors`: where nobody speaks, as if nothing had been heard; where the transcript goes round in
    circles, the reference words at most.
    """
    if row["transcript"] is None:
        errors = missing_words(reference)
    else:
        heard = scorers.profile.hypothesis(row["transcript"], scorers.language)
        errors = word_errors(reference, heard)
    row["wer"] = errors.wer
    row["substitutions"] = errors.substitutions
    row["deletions"] = errors.deletions
    row["insertions"] = errors.insertions
    row["guarded_errors"] = errors.errors
    if "no_speech" in row["flags"]:
        row["guarded_errors"] = errors.reference_words
    elif "loop" in row["flags"]:
        row["guarded_errors"] = min(errors.errors, errors.reference_words)


def _add_speaker(
    row: Row,
    audio: Audio,
    item: Item,
    scorers: Scorers,
    prompts: Mapping[str, np.ndarray],
    voices: Mapping[str, str],
) -> None:
    if scorers.speaker is None or item.prompt_wav is None:
        return  # a list without prompts has no similarity
    prompt = str(item.prompt_wav)
    if prompt not in prompts:
        row["status"], row["detail"] = "prompt_missing", "no prompt to compare the voice with"
        return
    try:
        embedding = _embedding(scorers, audio)
        recording = read_audio(item.recording) if item.recording else None
        if recording is not None and recording.wave is not None:
            row["sim_recording"] = float(np.dot(embedding, _embedding(scorers, recording)))
    except Unavailable:
        raise
    except Exception as error:
        row["detail"] = f"no similarity: {type(error).__name__}: {error}"
        return
    row["sim_prompt"], row["sim_other"] = similarities(embedding, prompt, prompts, voices)


def _add_mos(row: Row, audio: Audio, scorers: Scorers) -> None:
    wave, mos = audio.wave, scorers.mos
    if mos is None:
        return
    assert wave is not None
    try:
        row["mos"] = scorers.cache.get(mos.key, audio.sha256, lambda: mos.score(wave))
    except Unavailable:
        raise
    except Exception as error:
        row["detail"] = f"no MOS: {type(error).__name__}: {error}"


def synthesis_fields(synth_row: Mapping[str, Any] | None, row: Mapping[str, Any]) -> Row:
    """Counts and times of the synthesis, and why there is no wav when it failed."""
    synth_row = synth_row or {}
    fields = {name: synth_row.get(name) for name in ("n_tokens", "lm_s", "vocode_s", "hit_max")}
    if row["status"] == "missing" and synth_row.get("error"):
        fields["detail"] = f"synthesis failed: {synth_row['error']}"
    return fields
