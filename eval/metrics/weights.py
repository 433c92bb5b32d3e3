"""Weights of metric models: which ones are used, and what happens when there are none."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class Unavailable(RuntimeError):
    """A metric model cannot be had: a fault of the set-up, not of the audio. The message says what to do."""


def revision(location: str | Path, patterns: tuple[str, ...] = ()) -> str:
    """Short hash of a weight file, or of the files of a folder that match; "by-name" when nothing is there."""
    path = Path(location)
    files = [path] if path.is_file() else sorted({f for p in patterns for f in path.glob(p)})
    digest = hashlib.sha256()
    for file in files:
        digest.update(bytes.fromhex(file_sha256(file)))
    return digest.hexdigest()[:12] if files else "by-name"


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file, read once: kept by path, size and time of change in the user's cache folder."""
    facts = path.stat()
    name, stamp = str(path.resolve()), [facts.st_size, facts.st_mtime_ns]
    notes = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mamtra/weights.json"
    try:
        known = json.loads(notes.read_text(encoding="utf-8"))
        if known[name][:2] == stamp:
            return str(known[name][2])
    except (OSError, ValueError, KeyError, TypeError, IndexError):  # not there, or damaged
        known = {}
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    _write_notes(notes, (known if isinstance(known, dict) else {}) | {name: [*stamp, found]})
    return found


def _write_notes(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all; a folder that cannot be written costs time only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content), encoding="utf-8")
        os.replace(temporary, path)


def tool(name: str) -> str:
    """The version of a package, "missing" without it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


@cache
def code_sha256(*files: str) -> str:
    """Short hash of what Python files do: comments, docstrings and layout do not count, nor does which Python
    reads them."""
    digest = hashlib.sha256()
    for file in files:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and _documented(body):
                del body[0]
        digest.update(repr(_structure(tree)).encode())
    return digest.hexdigest()[:12]


def _structure(node: object) -> object:
    """A syntax tree as nested tuples, without the empty fields that one Python has and another has not.

    `ast.unparse` would not do: Python 3.12 writes some f-strings otherwise than 3.11.
    """
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        kept = [(name, _structure(value)) for name, value in fields if name != "kind"]
        return type(node).__name__, *kept
    return [_structure(one) for one in node] if isinstance(node, list) else repr(node)


def _documented(body: list[ast.stmt]) -> bool:
    """Whether a block begins with a string that is only documentation."""
    first = body[0] if body else None
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


def require(option: str, *modules: str, extra: str = "eval") -> None:
    """Raise Unavailable, naming what to install, when a module that an option needs is not there."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise Unavailable(f"{option} needs {', '.join(missing)}: pip install 'mamtra[{extra}]'")
