"""One sentence of one system as a reader meets it: player, class of its fault, what each recogniser heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eval.metrics.text.wer import DiffPart, word_diff
from eval.report.faults import NAMES
from eval.report.html import audio_data_uri
from eval.report.recipes import profile_of, tool_of
from eval.store.evaluations import Evaluated, Row
from eval.store.files import sha256_file


@dataclass(frozen=True)
class Hearing:
    """What one recogniser heard; `diff` is None where it failed, `wer` without reference words."""

    recogniser: str
    wer: float | None
    diff: list[DiffPart] | None


@dataclass(frozen=True)
class Heard:
    """`hearings`: the main recogniser first. `fault`: class and its name, None while not classified.
    `failures`: metric -> why it has no value."""

    system: str
    row: Row
    audio: str | None
    fault: tuple[str, str] | None
    hearings: list[Hearing]
    failures: dict[str, str]


def heard(one: Evaluated, row: Row, form: str | None) -> Heard:
    """A row of a system with its player in `form` (FLAC or MP3; None: without one)."""
    profile, language = profile_of(one), one.recipes["wer"]["language"]
    reference = profile.normalise(row["text"], language)

    def diff(transcript: str | None) -> list[DiffPart] | None:
        if transcript is None:
            return None
        return word_diff(reference, profile.hypothesis(transcript, language))

    first = Hearing(tool_of(one.recipes["wer"]), row["wer"], diff(row["transcript"]))
    others = [
        Hearing(label, _wer(heard_by, row), diff(heard_by["transcript"]))
        for label, heard_by in (row.get("hearings") or {}).items()
    ]
    fault = row.get("fault_class")  # no column of rows that are older than it
    path = one.wavs / f"{row['utterance']}.wav"
    # A file that was put in its place since is not what these numbers are about.
    scored = path.is_file() and sha256_file(path) == row["wav_sha256"]
    return Heard(
        one.name,
        row,
        audio_data_uri(path, form) if form and scored else None,
        None if fault is None else (str(fault), NAMES.get(fault, str(fault))),
        [first, *others],
        row.get("failures") or {},
    )


def _wer(counts: dict[str, Any], row: Row) -> float | None:
    if row["wer"] is None:
        return None
    errors = sum(counts[name] for name in ("substitutions", "deletions", "insertions"))
    return errors / counts["reference_words"]
