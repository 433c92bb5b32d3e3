"""Listening tests of three made-up systems."""

import json
from pathlib import Path

from rich.console import Console

from eval.listening.page import write_test

QUIET = Console(quiet=True)
SYSTEMS = ("student", "teacher", "zonos")


def make(results: Path, out: Path, **changes) -> dict:
    options = {"kind": "mos", "baseline": None, "n_items": 4, "seed": 0, "title": "Test"}
    write_test(results, out, QUIET, **options | changes)
    return json.loads((out / "key.json").read_text())
