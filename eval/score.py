"""Scoring stage: wavs -> one row per expected utterance in `scores.jsonl`.

Model outputs are cached by the hash of the wav and the key of the metric: a second run calls no
model. A fault of one wav is the status of its row and touches no other row. Raw transcripts are
kept, so that another normaliser needs no new transcripts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console

from eval.files import read_json, sha256_file, write_json, write_jsonl
from eval.metrics.audio import Audio, read_audio
from eval.metrics.speaker import similarities
from eval.metrics.wer import missing_words, normalise_seedtts, word_errors
from eval.progress import progress_bar
from eval.synthesize import wav_path
from eval.testset import Item

# Every row has exactly one of these. The first five describe the wav.
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


class ASR(Protocol):
    """Speech to text; see `eval.metrics.asr.WhisperASR`."""

    @property
    def key(self) -> str: ...
    def transcribe(self, wave: np.ndarray) -> str: ...


class Speaker(Protocol):
    """Speaker embeddings; see `eval.metrics.speaker.GE2ESpeaker`."""

    @property
    def key(self) -> str: ...
    def embed(self, wave: np.ndarray) -> np.ndarray: ...


class MOS(Protocol):
    """Opinion scores; see `eval.metrics.mos.DistillMOS`."""

    @property
    def key(self) -> str: ...
    def score(self, wave: np.ndarray) -> float: ...


class Cache:
    """Metric values on disk: `<root>/<metric key>/<first 2 digits>/<sha256 of the wav>.json`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = 0  # model calls since construction

    def get(self, key: str, sha256: str, compute: Callable[[], Any]) -> Any:
        """The cached value, or `compute()` stored. A damaged entry is computed again."""
        path = self.root / key / sha256[:2] / f"{sha256}.json"
        entry = read_json(path)
        if isinstance(entry, dict) and "value" in entry:
            return entry["value"]
        self.calls += 1
        value = compute()
        write_json(path, {"value": value})
        return value


@dataclass(frozen=True)
class Scorers:
    """The metric models and their cache; a metric without a model is left out of the rows."""

    asr: ASR
    speaker: Speaker | None
    mos: MOS | None
    cache: Cache


def score(
    items: Sequence[Item],
    out: Path,
    scorers: Scorers,
    synth_rows: Mapping[str, Mapping[str, Any]],
    *,
    name: str,
    console: Console,
    voice_of: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Transcribe, embed and rate the wavs of one system.

    Args:
        items: the expected utterances.
        out: the system's folder, with `wavs/`; `scores.jsonl` is written there.
        synth_rows: utterance -> row of the synthesis stage, for counts and times; may be empty.
        voice_of: stem of a prompt wav -> voice, when several prompts share a voice.

    Returns:
        One row per item in list order, each with a status from STATUSES.
    """
    prompts = _embed_prompts(items, scorers)
    voices = {key: (voice_of or {}).get(Path(key).stem, key) for key in prompts}
    calls = scorers.cache.calls
    rows = []
    with progress_bar(console) as bar:
        for item in bar.track(items, description=f"{name}: scoring"):
            row = _score_one(item, out, scorers, prompts, voices)
            row |= _synthesis_fields(synth_rows.get(item.utterance), row)
            rows.append(row)
    write_jsonl(out / "scores.jsonl", rows)
    n_calls = scorers.cache.calls - calls
    faults = [row for row in rows if row["status"] != "ok"]
    console.print(
        f"{name}: {len(rows)} rows, {len(faults)} not ok, {n_calls} model calls "
        f"-> {out / 'scores.jsonl'}"
    )
    for row in faults[:5]:
        console.print(f"  {row['utterance']}: {row['status']} {row['detail']}", markup=False)
    return rows


def _embed_prompts(items: Iterable[Item], scorers: Scorers) -> dict[str, np.ndarray]:
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
            prompts[key] = _embedding(scorers, sha256_file(item.prompt_wav), audio.wave)
    return prompts


def _embedding(scorers: Scorers, sha256: str, wave: np.ndarray) -> np.ndarray:
    speaker = scorers.speaker
    assert speaker is not None
    values = scorers.cache.get(speaker.key, sha256, lambda: [float(v) for v in speaker.embed(wave)])
    return np.asarray(values, dtype=np.float64)


def _score_one(
    item: Item,
    out: Path,
    scorers: Scorers,
    prompts: Mapping[str, np.ndarray],
    voices: Mapping[str, str],
) -> dict[str, Any]:
    path = wav_path(out, item.utterance)
    audio = read_audio(path)
    reference = normalise_seedtts(item.text)
    row: dict[str, Any] = {
        "utterance": item.utterance,
        "status": audio.status,
        "detail": audio.detail,
        "prompt": item.prompt_wav.name if item.prompt_wav else None,
        "text": item.text,
        "transcript": None,
        "wer": None,
        "substitutions": None,
        "deletions": None,
        "insertions": None,
        "reference_words": len(reference.split()),
        "sim_prompt": None,
        "sim_other": None,
        "mos": None,
        "duration_s": audio.duration_s,
        "wav_sha256": sha256_file(path) if path.is_file() else None,
    }
    if audio.wave is not None:
        _add_speaker(row, audio, str(item.prompt_wav), scorers, prompts, voices)
        _add_mos(row, audio, scorers)
        _add_transcript(row, audio, scorers)
    if not reference.split():
        # Without reference words there is no rate: the row is expected but not scored.
        row["status"], row["detail"] = "ref_empty", "the text has no words after normalisation"
    else:
        _add_word_errors(row, reference)
    return row


def _add_transcript(row: dict[str, Any], audio: Audio, scorers: Scorers) -> None:
    wave = audio.wave
    assert wave is not None
    try:
        row["transcript"] = scorers.cache.get(
            scorers.asr.key, row["wav_sha256"], lambda: scorers.asr.transcribe(wave)
        )
    except Exception as error:
        row["status"], row["detail"] = "asr_error", f"{type(error).__name__}: {error}"


def _add_word_errors(row: dict[str, Any], reference: str) -> None:
    """Word errors; an utterance without a transcript counts as all words deleted."""
    if row["transcript"] is None:
        errors = missing_words(reference)
    else:
        errors = word_errors(reference, normalise_seedtts(row["transcript"]))
    row["wer"] = errors.wer
    row["substitutions"] = errors.substitutions
    row["deletions"] = errors.deletions
    row["insertions"] = errors.insertions


def _add_speaker(
    row: dict[str, Any],
    audio: Audio,
    prompt: str,
    scorers: Scorers,
    prompts: Mapping[str, np.ndarray],
    voices: Mapping[str, str],
) -> None:
    if scorers.speaker is None:
        return
    if prompt not in prompts:
        row["status"], row["detail"] = "prompt_missing", "no prompt to compare the voice with"
        return
    assert audio.wave is not None
    try:
        embedding = _embedding(scorers, row["wav_sha256"], audio.wave)
    except Exception as error:
        row["detail"] = f"no similarity: {type(error).__name__}: {error}"
        return
    row["sim_prompt"], row["sim_other"] = similarities(embedding, prompt, prompts, voices)


def _add_mos(row: dict[str, Any], audio: Audio, scorers: Scorers) -> None:
    wave, mos = audio.wave, scorers.mos
    if mos is None:
        return
    assert wave is not None
    try:
        row["mos"] = scorers.cache.get(mos.key, row["wav_sha256"], lambda: mos.score(wave))
    except Exception as error:
        row["detail"] = f"no MOS: {type(error).__name__}: {error}"


def _synthesis_fields(
    synth_row: Mapping[str, Any] | None, row: Mapping[str, Any]
) -> dict[str, Any]:
    synth_row = synth_row or {}
    fields = {name: synth_row.get(name) for name in ("n_tokens", "lm_s", "vocode_s", "hit_max")}
    if row["status"] == "missing" and synth_row.get("error"):
        fields["detail"] = f"synthesis failed: {synth_row['error']}"
    return fields
