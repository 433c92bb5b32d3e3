"""What metric models said, on disk: `<root>/metrics.sqlite`, one row per model and clip."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eval.store.files import InputError, make_folder

FILE = "metrics.sqlite"
BUSY_S = 60.0


class Cache:
    """Values by the key of the metric (tool, version, weights, decoding) and the hash of the decoded audio.

    Several processes may share one. A value that is not whole JSON is computed again.

    Raises:
        InputError: the file is not a cache.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = 0  # model calls since construction
        make_folder(root)
        try:
            self._database = sqlite3.connect(root / FILE, timeout=BUSY_S, isolation_level=None)
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS value "
                "(key TEXT, sha256 TEXT, value TEXT NOT NULL, PRIMARY KEY (key, sha256))"
            )
        except sqlite3.OperationalError as error:  # locked, read-only, a full disk
            raise InputError(f"{root / FILE}: {error}; try again") from error
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{root / FILE}: not a cache of metric values ({error}); delete it, and they are "
                "computed again"
            ) from error

    def get(self, key: str, sha256: str, compute: Callable[[], Any]) -> Any:
        """The cached value, or `compute()` stored."""
        entry = self._entry(key, sha256)
        if entry is not None:
            return entry[0]
        value = compute()
        self.put(key, sha256, value)
        return value

    def put(self, key: str, sha256: str, value: Any) -> None:
        """Store what a model said."""
        self.calls += 1
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        self._database.execute("INSERT OR REPLACE INTO value VALUES (?, ?, ?)", (key, sha256, text))

    def has(self, key: str, sha256: str) -> bool:
        """Whether `get` would call no model."""
        return self._entry(key, sha256) is not None

    def _entry(self, key: str, sha256: str) -> tuple[Any] | None:
        """The value in a tuple of its own, because it may be None itself."""
        found = self._database.execute(
            "SELECT value FROM value WHERE key = ? AND sha256 = ?", (key, sha256)
        ).fetchone()
        if found is None:
            return None
        try:
            return (json.loads(found[0]),)
        except ValueError:
            return None
