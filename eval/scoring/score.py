"""Scoring stage: wavs -> one row of the store per expected utterance, with the recipes that made it.

Model outputs are cached by the hash of the decoded audio and the key of the metric: a second run calls no
model. A fault of one wav is the status of its row and touches no other row. Raw transcripts are kept and
every profile of `eval.metrics.text.profiles` scores from them. n shards of a list, scored by n processes,
leave the same rows as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from eval.console import progress_bar
from eval.metrics.audio import read_audio
from eval.metrics.guard import WINDOW_S
from eval.metrics.weights import Unavailable
from eval.scoring.row import Row, score_one, synthesis_fields
from eval.scoring.scorers import Scorers
from eval.store.database import Store
from eval.store.files import InputError, sha256_json
from eval.testset import Item


def score(
    items: Sequence[Item],
    wavs: Path,
    store: Store,
    scorers: Scorers,
    *,
    name: str,
    speech_recipe: Mapping[str, Any],
    test_set: str,
    seed: int,
    console: Console,
    shard: tuple[int, int] = (0, 1),
) -> list[Row]:
    """Transcribe, embed and rate the wavs of one system.

    The rows are written at the end, all at once: a run that is killed leaves the former ones, and what the
    models said is in the cache.

    Args:
        items: the expected utterances.
        wavs: folder with `<utterance>.wav`.
        name: of the system; rows of its synthesis in `store` give counts and causes of missing wavs.
        speech_recipe: what made the wavs. test_set, seed: hash of the list, and seed index, kept with them.
        shard: (i, n): score every n-th item from the i-th on.

    Returns:
        One row per item of the shard in list order, each with a status from STATUSES.
    """
    numbered = list(enumerate(items))[shard[0] :: shard[1]]
    mine = [item for _, item in numbered]
    calls, rows = scorers.cache.calls, []
    made_now = sha256_json(speech_recipe)
    speech = {u: row for u, (made_by, row) in store.speech(name).items() if made_by == made_now}
    try:
        with progress_bar(console) as bar:
            prompts = f"{escape(name)}: prompts"
            scorers.prepare(
                items, lambda these: bar.track(these, description=prompts) if these else ()
            )
        for label in scorers.setup.recognisers:
            transcribe_ahead(mine, wavs, scorers, label, name, console)
        with progress_bar(console) as bar:
            for item in bar.track(mine, description=f"{escape(name)}: scoring"):
                row = score_one(item, wavs, scorers)
                rows.append(row | synthesis_fields(speech.get(item.utterance), row))
    except Unavailable as error:
        raise InputError(str(error)) from error
    store.put_scores(
        name,
        [(place, row) for (place, _), row in zip(numbered, rows, strict=True)],
        utterances=[item.utterance for item in items],
        test_set=test_set,
        seed=seed,
        speech_recipe=speech_recipe,
        metric_recipes=scorers.recipes(),
    )
    _say_faults(name, rows, scorers.cache.calls - calls, store, console)
    return rows


def _say_faults(
    name: str, rows: Sequence[Row], n_calls: int, store: Store, console: Console
) -> None:
    faults = [row for row in rows if row["status"] != "ok"]
    text = f"{name}: {len(rows)} rows, {len(faults)} not ok, {n_calls} model calls -> {store.path}"
    console.print(text, markup=False, soft_wrap=True)
    for row in faults[:5]:
        console.print(f"  {row['utterance']}: {row['status']} {row['detail']}", markup=False)
    for metric in sorted({metric for row in rows for metric in row["failures"]}):
        lost = [row["failures"][metric] for row in rows if metric in row["failures"]]
        console.print(f"  {len(lost)} rows have no {metric}: {lost[0]}", markup=False)


def transcribe_ahead(
    items: Sequence[Item], wavs: Path, scorers: Scorers, label: str, name: str, console: Console
) -> None:
    """Put the transcripts of short clips into the cache, several at a time; what fails is left to the row.

    Clips of like length go together, so that none waits long for another's end.
    """
    asr = scorers.setup.recognisers[label]
    batch = asr.batch
    if batch < 2:
        return
    waiting: dict[str, tuple[float, Path]] = {}  # by the audio's hash
    for item in items:
        path = wavs / f"{item.utterance}.wav"
        audio = read_audio(path)
        short = audio.wave is not None and audio.duration_s <= WINDOW_S
        if short and not scorers.cache.has(asr.key, audio.sha256):
            waiting[audio.sha256] = (audio.duration_s, path)
    ordered = sorted(waiting, key=lambda sha256: waiting[sha256])
    with progress_bar(console) as bar:
        task = bar.add_task(f"{escape(name)}: {escape(label)}", total=len(ordered))
        for start in range(0, len(ordered), batch):
            part = ordered[start : start + batch]
            read = (read_audio(waiting[sha256][1]).wave for sha256 in part)
            waves = [wave for wave in read if wave is not None]
            try:
                texts = asr.transcribe_batch(waves)
            except Unavailable:
                raise
            except Exception as error:
                text = f"{name}: {len(part)} clips are read one by one: {type(error).__name__}: {error}"
                console.print(text, style="yellow", markup=False)
            else:
                for sha256, text in zip(part, texts, strict=True):
                    scorers.cache.put(asr.key, sha256, text)
            bar.advance(task, len(part))
