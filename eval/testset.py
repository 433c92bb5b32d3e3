"""Test sets in the `meta.lst` form of seed-tts-eval.

Fields are separated by `|`. The number of fields decides their meaning:

    6   utterance | prompt text | prompt wav | text | recording | voice
    5   utterance | prompt text | prompt wav | text | recording
    4   utterance | prompt text | prompt wav | text
    3   utterance | text | prompt wav            (a ".wav" ending of the utterance is dropped)
    2   utterance | text

The voice is whose prompt it is: utterances of one voice are not independent, so it is the cluster of all
statistics. Where none is given, every prompt file is a voice of its own, by its whole path. Where no recording
is given, `wavs/<utterance>.wav` beside the list is one if it is there, as in Seed-TTS's own folders.

Relative paths resolve against the folder of the list. Everything wrong with a list is reported at
once, each fault with its line, before any model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from eval.store.files import InputError

MAX_SHOWN_FAULTS = 20
LONGEST_ID = 200  # bytes; with what stages append it has to fit into 255


@dataclass(frozen=True)
class Item:
    """One line of a test set, or what the command line gives (`line` 0). `recording` is the original speech of
    `text`, when there is one."""

    utterance: str
    text: str
    prompt_text: str
    prompt_wav: Path | None
    recording: Path | None
    line: int
    listed_voice: str | None = None

    @property
    def voice(self) -> str:
        """The cluster of all statistics: utterances of one voice are not independent.

        The voice that the list names, else the path of the prompt, else the utterance itself.
        """
        if self.listed_voice:
            return self.listed_voice
        return str(self.prompt_wav) if self.prompt_wav else self.utterance

    def place(self, key: str) -> str:
        """Where a fault is to be mended: the line of the list, or `key` of the command line."""
        return f"line {self.line}, utterance {self.utterance!r}" if self.line else f"{key}="


def read_meta(
    path: str | Path, limit: int | None = None, *, need_prompts: bool = True
) -> tuple[Item, ...]:
    """Read and check a test set.

    The form of every line is checked, also beyond `limit`; prompt wavs are checked for the items
    that are returned. A recording is optional: the list may name one that is not there.

    Args:
        path: the `meta.lst` file.
        limit: keep the first `limit` items only.
        need_prompts: False where only words are counted: prompt wavs need not be there.

    Raises:
        InputError: with one line `file:line: what is wrong` per fault.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1, got {limit}")
    try:
        # Not splitlines: a text may hold U+2028.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise InputError(
            f"no such test set: {path}; docs/paper_scale.md says where the public ones are, and "
            "testset.meta=<file> testset.tokens=null names one of yours"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a UTF-8 text file ({error.reason})") from None
    while lines and not lines[-1].strip():
        lines.pop()

    items: list[Item] = []
    faults: list[str] = []
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            item = _parse_line(line, number, path.parent)
            if item.utterance in first_line:
                raise InputError(
                    f"duplicate utterance id {item.utterance!r}, first used in line "
                    f"{first_line[item.utterance]}"
                )
            first_line[item.utterance] = number
            items.append(item)
        except InputError as error:
            faults.append(f"{path}:{number}: {error}")
    if not lines:
        faults.append(f"{path}: the list is empty")
    items = items[:limit]
    if need_prompts:
        faults += _prompt_faults(items, path)
    if faults:
        hidden = len(faults) - MAX_SHOWN_FAULTS
        shown = faults[:MAX_SHOWN_FAULTS] + ([f"... and {hidden} more"] if hidden > 0 else [])
        raise InputError("\n".join(shown))
    return tuple(items)


def one_item(text: str, prompt_wav: str | Path, prompt_text: str | None) -> tuple[Item, ...]:
    """A test set of one sentence, the utterance "speech".

    Raises:
        InputError: an empty text, or a prompt that is not there or cannot be read.
    """
    path = Path(prompt_wav)
    if not text.strip():
        raise InputError("text= is empty: there is nothing to say")
    fault = _wav_fault(path)
    if fault:
        raise InputError(f"prompt={path}: {fault}")
    return (Item("speech", text, prompt_text or "", path, None, line=0),)


def parse_shard(text: str) -> tuple[int, int]:
    """ "2/8" -> (2, 8). Raises InputError for anything but 0 <= i < n."""
    index, slash, count = str(text).partition("/")
    if not (slash and index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise InputError(f"shard is i/n with 0 <= i < n, not {text!r}")
    return int(index), int(count)


def with_recording(items: Sequence[Item]) -> tuple[Item, ...]:
    """The items whose original recording exists: the list for `recordings` and `codec`."""
    return tuple(item for item in items if item.recording is not None and item.recording.is_file())


def _parse_line(line: str, number: int, folder: Path) -> Item:
    fields = [field.strip() for field in line.split("|")]
    prompt_text, prompt_wav, recording, voice = "", "", "", ""
    if len(fields) == 6:
        utterance, prompt_text, prompt_wav, text, recording, voice = fields
    elif len(fields) == 5:
        utterance, prompt_text, prompt_wav, text, recording = fields
    elif len(fields) == 4:
        utterance, prompt_text, prompt_wav, text = fields
    elif len(fields) == 3:
        utterance, text, prompt_wav = fields
        utterance = utterance.removesuffix(".wav")
    elif len(fields) == 2:
        utterance, text = fields
    else:
        raise InputError(
            f"malformed line: {len(fields)} field(s) separated by '|', expected 2 to 6"
        )
    _check_utterance_id(utterance)
    if not text:
        raise InputError(f"empty text for utterance {utterance!r}")
    if len(fields) >= 3 and not prompt_wav:
        raise InputError(f"empty prompt wav for utterance {utterance!r}")
    if len(fields) >= 4 and not prompt_text:
        raise InputError(f"empty prompt text for utterance {utterance!r}")
    if len(fields) == 6 and not voice:
        raise InputError(f"empty voice for utterance {utterance!r}")
    beside = folder / "wavs" / f"{utterance}.wav"
    return Item(
        utterance=utterance,
        text=text,
        prompt_text=prompt_text,
        prompt_wav=folder / prompt_wav if prompt_wav else None,
        recording=folder / recording if recording else beside if beside.is_file() else None,
        line=number,
        listed_voice=voice or None,
    )


def _check_utterance_id(utterance: str) -> None:
    if not utterance:
        raise InputError("empty utterance id")
    # The id becomes a file name, so it must not be able to leave the results folder.
    if "/" in utterance or "\\" in utterance or ".." in utterance or utterance == ".":
        raise InputError(
            f"utterance id {utterance!r} contains a path; it must be a plain file name"
        )
    if len(utterance.encode()) > LONGEST_ID:
        raise InputError(f"utterance id {utterance[:20]!r}... is longer than a file name may be")
    if not utterance.isprintable():
        raise InputError(f"utterance id {utterance!r} contains a control character")


def _prompt_faults(items: Sequence[Item], path: Path) -> list[str]:
    """Read each distinct prompt once; a fault names the first line that uses it."""
    seen: set[Path] = set()
    faults = []
    for item in items:
        if item.prompt_wav is None or item.prompt_wav in seen:
            continue
        seen.add(item.prompt_wav)
        fault = _wav_fault(item.prompt_wav)
        if fault:
            faults.append(f"{path}:{item.line}: prompt wav {item.prompt_wav}: {fault}")
    return faults


def _wav_fault(path: Path) -> str | None:
    try:
        if not path.is_file():
            return "no such file"
        wave, _ = soundfile.read(path, dtype="float32")
    except (soundfile.LibsndfileError, OSError) as error:
        return f"not readable as audio ({error})"
    if wave.size == 0:
        return "contains no samples"
    if not np.isfinite(wave).all():
        return "contains NaN or infinite samples"
    return None
