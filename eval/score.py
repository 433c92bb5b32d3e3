"""Scoring stage: wavs -> one row per expected utterance in `scores.jsonl`.

Model outputs are cached by the hash of the decoded audio and the key of the metric: a second run calls no
model. A fault of one wav is the status of its row and touches no other row. Raw transcripts are kept and every
profile of `eval.metrics.profiles` scores from them. n shards of a list, scored by n processes, merge into the
same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from eval.files import InputError, read_jsonl, sha256_file, write_jsonl
from eval.metrics.audio import Audio, read_audio
from eval.metrics.guard import WINDOW_S, Span, loops, transcribe_long
from eval.metrics.speaker import similarities
from eval.metrics.wer import missing_words, word_errors
from eval.progress import progress_bar
from eval.scorers import Scorers
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


def score(
    items: Sequence[Item],
    wavs: Path,
    out: Path,
    scorers: Scorers,
    synth_rows: Mapping[str, Mapping[str, Any]],
    *,
    name: str,
    console: Console,
    voice_of: Mapping[str, str] | None = None,
    shard: tuple[int, int] = (0, 1),
) -> list[Row] | None:
    """Transcribe, embed and rate the wavs of one system.

    Args:
        items: the expected utterances.
        wavs: folder with `<utterance>.wav`.
        out: the system's folder: `scores.jsonl` is written there, of a shard `scores.<i>of<n>.jsonl`.
        synth_rows: utterance -> row of the synthesis stage, for counts and times; may be empty.
        voice_of: stem of a prompt wav -> voice, when several prompts share a voice.
        shard: (i, n): score every n-th item from the i-th on.

    Returns:
        One row per item in list order, each with a status from STATUSES; None while shards are missing.
    """
    index, n_shards = shard
    mine = items[index::n_shards]
    prompts = _embed_prompts(items, scorers)
    voices = {key: (voice_of or {}).get(Path(key).stem, key) for key in prompts}
    calls = scorers.cache.calls
    rows = []
    with progress_bar(console) as bar:
        for item in bar.track(mine, description=f"{name}: scoring"):
            row = _score_one(item, wavs, scorers, prompts, voices)
            row |= _synthesis_fields(synth_rows.get(item.utterance), row)
            rows.append(row)
    n_calls = scorers.cache.calls - calls
    write_jsonl(_shard_path(out, shard), rows)
    whole = rows if n_shards == 1 else merge_shards(items, out, n_shards)
    where = out / "scores.jsonl" if whole is not None else _shard_path(out, shard)
    faults = [row for row in rows if row["status"] != "ok"]
    console.print(
        f"{name}: {len(rows)} rows, {len(faults)} not ok, {n_calls} model calls -> {where}"
    )
    for row in faults[:5]:
        console.print(f"  {row['utterance']}: {row['status']} {row['detail']}", markup=False)
    return whole


def _shard_path(out: Path, shard: tuple[int, int]) -> Path:
    index, n_shards = shard
    return out / ("scores.jsonl" if n_shards == 1 else f"scores.{index}of{n_shards}.jsonl")


def merge_shards(items: Sequence[Item], out: Path, n_shards: int) -> list[Row] | None:
    """Write `scores.jsonl` from the shards' rows, in list order; None while a shard is missing.

    Raises:
        InputError: a shard of another list, or two that hold the same utterance.
    """
    paths = [_shard_path(out, (index, n_shards)) for index in range(n_shards)]
    if not all(path.is_file() for path in paths):
        return None
    found = [row for path in paths for row in read_jsonl(path)]
    rows = {row["utterance"]: row for row in found}
    wanted = [item.utterance for item in items]
    if sorted(rows) != sorted(wanted) or len(found) != len(wanted):
        raise InputError(
            f"{out}: the {n_shards} shards hold {len(found)} rows of {len(rows)} utterances, the test "
            f"set {len(wanted)}; delete scores.*of{n_shards}.jsonl and score them again"
        )
    ordered = [rows[utterance] for utterance in wanted]
    write_jsonl(out / "scores.jsonl", ordered)
    return ordered


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
            prompts[key] = _embedding(scorers, audio)
    return prompts


def _embedding(scorers: Scorers, audio: Audio) -> np.ndarray:
    speaker, wave = scorers.speaker, audio.wave
    assert speaker is not None and wave is not None
    embed = lambda: [float(v) for v in speaker.embed(wave)]  # noqa: E731
    return np.asarray(scorers.cache.get(speaker.key, audio.sha256, embed), dtype=np.float64)


def _score_one(
    item: Item,
    wavs: Path,
    scorers: Scorers,
    prompts: Mapping[str, np.ndarray],
    voices: Mapping[str, str],
) -> Row:
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
        "wav_sha256": sha256_file(path) if path.is_file() else None,
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
            scorers.asr.key,
            audio.sha256,
            lambda: transcribe_long(wave, spans or [], scorers.asr.transcribe),
        )
    except Exception as error:
        row["status"], row["detail"] = "asr_error", f"{type(error).__name__}: {error}"


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
    if scorers.speaker is None:
        return
    prompt = str(item.prompt_wav)
    if prompt not in prompts:
        row["status"], row["detail"] = "prompt_missing", "no prompt to compare the voice with"
        return
    try:
        embedding = _embedding(scorers, audio)
        recording = read_audio(item.recording) if item.recording else None
        if recording is not None and recording.wave is not None:
            row["sim_recording"] = float(np.dot(embedding, _embedding(scorers, recording)))
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
    except Exception as error:
        row["detail"] = f"no MOS: {type(error).__name__}: {error}"


def _synthesis_fields(synth_row: Mapping[str, Any] | None, row: Mapping[str, Any]) -> Row:
    synth_row = synth_row or {}
    fields = {name: synth_row.get(name) for name in ("n_tokens", "lm_s", "vocode_s", "hit_max")}
    if row["status"] == "missing" and synth_row.get("error"):
        fields["detail"] = f"synthesis failed: {synth_row['error']}"
    return fields
