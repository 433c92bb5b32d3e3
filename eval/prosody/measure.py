"""Prosody of every utterance of a system against its recording: one file a system and tracker.

<evaluation>/<system>/prosody-<tracker>.jsonl: first the protocol, then one row an utterance. Rows stay while
their sounds and the protocol do. They are no part of what decides who may be ranked by WER.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from eval.metrics.audio import read_audio
from eval.metrics.prosody.compare import ProsodyScores, compare, protocol
from eval.store.evaluations import Evaluated
from eval.store.files import sha256_file, write_text
from eval.testset import Item

Row = dict[str, Any]
MOST_WER = 0.5  # above it another text was read, and frames cannot be compared
COLUMNS = tuple(field.name for field in fields(ProsodyScores) if field.name != "status")


def file_of(system: Evaluated, tracker: str) -> Path:
    """Where the rows of a system lie."""
    return system.folder / f"prosody-{tracker}.jsonl"


def measure(
    system: Evaluated,
    items: Mapping[str, Item],
    tracker: str,
    watch: Callable[[Sequence[Any]], Iterable[Any]] = lambda rows: rows,
) -> list[Row]:
    """Rows in list order: utterance, voice, status, COLUMNS. A row without values says why:

    no_recording, missing (no wav that can be read), not_read (WER above a half), silent, unvoiced (no pitch).
    """
    path, rules = file_of(system, tracker), protocol(tracker)
    known = _read(path, rules)
    rows = []
    for scored in watch(system.rows):
        row = _measured(scored, system, items.get(scored["utterance"]), tracker, known)
        rows.append(row)
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


def _measured(
    scored: Mapping[str, Any],
    system: Evaluated,
    item: Item | None,
    tracker: str,
    known: Mapping[str, Row],
) -> Row:
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
    waves = [read_audio(one) for one in (path, recording)]
    if any(audio.wave is None for audio in waves):
        return row | {"status": "silent"}
    try:
        values = asdict(compare(waves[0].wave, waves[1].wave, tracker))  # type: ignore[arg-type]
    except ValueError:
        return row | {"status": "silent"}
    rounded = {
        key: round(value, 5) if isinstance(value, float) else value for key, value in values.items()
    }
    return row | rounded
