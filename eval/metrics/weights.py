"""Weights of metric models: which ones are used, and what happens when there are none."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


class Unavailable(RuntimeError):
    """A metric model cannot be had: a fault of the set-up, not of the audio. The message says what to do."""


def revision(location: str | Path, patterns: tuple[str, ...] = ()) -> str:
    """Short hash of a weight file, or of the files of a folder that match; "by-name" when nothing is there."""
    path = Path(location)
    files = [path] if path.is_file() else sorted({f for p in patterns for f in path.glob(p)})
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:12] if files else "by-name"


def tool(name: str) -> str:
    """The version of a package, "missing" without it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def file_name(text: str) -> str:
    """A model's name or path as part of a file name."""
    return text.replace("/", "_").strip("._")
