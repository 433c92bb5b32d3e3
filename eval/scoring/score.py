"""Scoring stage: wavs -> one row per expected utterance in `scores.jsonl`.

Model outputs are cached by the hash of the decoded audio and the key of the metric: a second run calls no
model. A fault of one wav is the status of its row and touches no other row. Raw transcripts are kept and
every profile of `eval.metrics.text.profiles` scores from them. n shards of a list, scored by n processes,
merge into the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from eval.metrics.audio import read_audio
from eval.metrics.guard import WINDOW_S
from eval.metrics.weights import Unavailable
from eval.progress import progress_bar
from eval.scoring.row import Row, embed_prompts, file_hash, score_one, synthesis_fields
from eval.scoring.scorers import Scorers
from eval.store.files import InputError, read_jsonl, sha256_json, write_jsonl
from eval.testset import Item


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
        out: the system's folder: `scores.jsonl` is written there, of a shard
            `scores.<protocol>.<i>of<n>.jsonl`.
        synth_rows: utterance -> row of the synthesis stage, for counts and times; may be empty.
        voice_of: stem of a prompt wav -> voice, when several prompts share a voice.
        shard: (i, n): score every n-th item from the i-th on.

    Returns:
        One row per item in list order, each with a status from STATUSES; None while shards are missing.
    """
    index, n_shards = shard
    mine = items[index::n_shards]
    mark = sha256_json(scorers.protocol())[:8]
    shard_path(out, shard, mark).unlink(missing_ok=True)
    calls, rows = scorers.cache.calls, []
    try:
        prompts = embed_prompts(items, scorers)
        voices = {key: (voice_of or {}).get(Path(key).stem, key) for key in prompts}
        transcribe_ahead(mine, wavs, scorers, name, console)
        with progress_bar(console) as bar:
            for item in bar.track(mine, description=f"{name}: scoring"):
                row = score_one(item, wavs, scorers, prompts, voices)
                row |= synthesis_fields(synth_rows.get(item.utterance), row)
                rows.append(row)
    except Unavailable as error:
        raise InputError(str(error)) from error
    n_calls = scorers.cache.calls - calls
    own = shard_path(out, shard, mark)
    write_jsonl(own, rows)
    whole = rows if n_shards == 1 else merge_shards(items, wavs, out, n_shards, mark)
    where = out / "scores.jsonl" if whole is not None else own
    faults = [row for row in rows if row["status"] != "ok"]
    console.print(
        f"{name}: {len(rows)} rows, {len(faults)} not ok, {n_calls} model calls -> {where}"
    )
    for row in faults[:5]:
        console.print(f"  {row['utterance']}: {row['status']} {row['detail']}", markup=False)
    for metric, column in (("MOS", "mos"), ("similarity", "sim_prompt")):
        lost = [row for row in rows if row["detail"].startswith(f"no {metric}")]
        if lost:
            console.print(f"  {len(lost)} rows have no {column}: {lost[0]['detail']}", markup=False)
    return whole


def transcribe_ahead(
    items: Sequence[Item], wavs: Path, scorers: Scorers, name: str, console: Console
) -> None:
    """Put the transcripts of short clips into the cache, several at a time; what fails is left to the row.

    Clips of like length go together, so that none waits long for another's end.
    """
    asr: Any = scorers.asr
    batch = getattr(asr, "batch", 1)
    if batch < 2:
        return
    waiting: dict[str, tuple[float, Path]] = {}  # by the audio's hash
    for item in items:
        path = wavs / f"{item.utterance}.wav"
        audio = read_audio(path)
        short = audio.wave is not None and audio.duration_s <= WINDOW_S
        if short and not scorers.cache.has(scorers.asr.key, audio.sha256):
            waiting[audio.sha256] = (audio.duration_s, path)
    ordered = sorted(waiting, key=lambda sha256: waiting[sha256])
    with progress_bar(console) as bar:
        task = bar.add_task(f"{name}: transcripts", total=len(ordered))
        for start in range(0, len(ordered), batch):
            part = ordered[start : start + batch]
            waves = [read_audio(waiting[sha256][1]).wave for sha256 in part]
            try:
                texts = asr.transcribe_batch(waves)
            except Unavailable:
                raise
            except Exception as error:
                reason = escape(f"{type(error).__name__}: {error}")
                console.print(f"[yellow]{name}: {len(part)} clips are read one by one[/]: {reason}")
            else:
                for sha256, text in zip(part, texts, strict=True):
                    scorers.cache.put(scorers.asr.key, sha256, text)
            bar.advance(task, len(part))


def shard_path(out: Path, shard: tuple[int, int], mark: str) -> Path:
    """Where a shard's rows lie; `mark` tells those of one protocol from another's."""
    index, n_shards = shard
    name = "scores.jsonl" if n_shards == 1 else f"scores.{mark}.{index}of{n_shards}.jsonl"
    return out / name


def merge_shards(
    items: Sequence[Item], wavs: Path, out: Path, n_shards: int, mark: str
) -> list[Row] | None:
    """Write `scores.jsonl` from the shards' rows, in list order; None while a shard is missing or its wavs
    have changed since.

    Raises:
        InputError: a shard of another list, or two that hold the same utterance.
    """
    paths = [shard_path(out, (index, n_shards), mark) for index in range(n_shards)]
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
    if any(row["wav_sha256"] != file_hash(wavs / f"{name}.wav") for name, row in rows.items()):
        return None
    ordered = [rows[utterance] for utterance in wanted]
    write_jsonl(out / "scores.jsonl", ordered)
    return ordered
