"""Prosody of every utterance of a system against its recording: one file a system and tracker.

<evaluation>/<system>/prosody-<tracker>.jsonl: first the protocol, then one row an utterance. Rows stay while
their sounds and the protocol do. They are no part of what decides who may be ranked by WER.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from eval.metrics.audio import read_audio
from eval.metrics.prosody.compare import ProsodyScores, Reading, compare, protocol, reading
from eval.store.evaluations import Evaluated
from eval.store.files import sha256_file, write_text
from eval.testset import Item

Row = dict[str, Any]
MOST_WER = 0.5  # above it another text was read, and frames cannot be compared
KEPT = 1000  # recordings of which a process remembers what was measured
RECORDING = "recording"
COLUMNS = tuple(field.name for field in fields(ProsodyScores) if field.name != "status")


def file_of(system: Evaluated, tracker: str) -> Path:
    """Where the rows of a system lie."""
    return system.folder / f"prosody-{tracker}.jsonl"


def measure(
    system: Evaluated,
    items: Mapping[str, Item],
    tracker: str,
    watch: Callable[[Sequence[Any]], Iterable[Any]] = lambda rows: rows,
    run: Callable[..., Iterable[Any]] = map,
) -> list[Row]:
    """Rows in list order: utterance, voice, status, COLUMNS. A row without values says why:

    no_recording, missing (no wav that can be read), not_read (WER above a half), silent, unvoiced (no pitch).
    `run`: what maps a function over the rows to measure: `map`, or that of a pool of processes.
    """
    path, rules = file_of(system, tracker), protocol(tracker)
    known = _read(path, rules)
    rows = [_row(scored, system, items.get(scored["utterance"]), known) for scored in system.rows]
    todo = [(i, row) for i, row in enumerate(rows) if "status" not in row]
    sounds = [(system.wavs / f"{row['utterance']}.wav", row.pop(RECORDING)) for _, row in todo]
    found = run(measured, *zip(*sounds, strict=True), [tracker] * len(todo)) if todo else ()
    for (i, row), values in zip(watch(todo), found, strict=True):
        rows[i] = row | values
    lines = [json.dumps({"protocol": rules}), *(json.dumps(row) for row in rows)]
    write_text(path, "\n".join(lines) + "\n")
    return rows


def _read(path: Path, rules: Mapping[str, Any]) -> dict[str, Row]:
    """Rows of a former run by the same protocol, by utterance."""
    if not path.is_file():
        return {}
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    if json.loads(first)["protocol"] != rules:
        return {}
    return {row["utterance"]: row for row in map(json.loads, lines)}


def _row(
    scored: Mapping[str, Any], system: Evaluated, item: Item | None, known: Mapping[str, Row]
) -> Row:
    """A row that is known or has no values; else one without status, with the recording to measure against."""
    name = scored["utterance"]
    row: Row = {"utterance": name, "voice": scored["voice"], "sounds": None}
    recording = item.recording if item else None
    if recording is None or not recording.is_file():
        return row | {"status": "no_recording"}
    path = system.wavs / f"{name}.wav"
    if scored["status"] != "ok" or not path.is_file():
        return row | {"status": "missing"}
    row["sounds"] = [sha256_file(path), sha256_file(recording)]
    if scored["wer"] is not None and scored["wer"] > MOST_WER:
        return row | {"status": "not_read"}
    before = known.get(name)
    if before is not None and before["sounds"] == row["sounds"] and before["status"] != "not_read":
        return dict(before)
    return row | {RECORDING: recording}


def measured(path: Path, recording: Path, tracker: str) -> Row:
    """Status and values of one sound against its recording."""
    try:
        # The recording is the same for every system; finding its pitch takes half of the time.
        values = asdict(compare(_reading(path, tracker), _recording(recording, tracker)))
    except ValueError:
        return {"status": "silent"}
    return {
        key: round(value, 5) if isinstance(value, float) else value for key, value in values.items()
    }


def _reading(path: Path, tracker: str) -> Reading:
    """Raises ValueError for silence and for what cannot be read."""
    wave = read_audio(path).wave
    if wave is None:
        raise ValueError(f"{path} cannot be read")
    return reading(wave, tracker)


_recording = lru_cache(maxsize=KEPT)(_reading)
