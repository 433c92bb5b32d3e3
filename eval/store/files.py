"""Small file helpers: atomic writes, content hashes.

Every result goes through a temporary name in the same folder and a rename, so that an interrupt
leaves either the old file or the new one, never a part.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """Something the user gave is wrong; the message alone says what to mend."""


def make_folder(folder: Path) -> None:
    """Make a folder where there is none. Raises InputError when that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically, making the folder when needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN is refused: it is not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any | None:
    """The JSON value in `path`, or None when the file is absent or not whole JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The whole rows of a JSON-lines file, [] when it is absent.

    A line that is not JSON is what a kill in the middle of an append leaves behind. It is dropped,
    and the work it stood for is done again.
    """
    if not path.exists():
        return []
    rows = []
    # Not splitlines: a text may hold U+2028, which JSON leaves as it is.
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def sha256_bytes(content: bytes) -> str:
    """Hex sha256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of the bytes of one file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex sha256 of a JSON value in canonical form (sorted keys)."""
    return sha256_bytes(json.dumps(value, sort_keys=True, ensure_ascii=True).encode())


def markdown_cell(text: str) -> str:
    """A text as a cell of a Markdown table, whatever characters it has."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
