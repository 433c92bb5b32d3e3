"""The stages of evaluate.py that read finished evaluations instead of making one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from eval.analysis.compare import compare
from eval.listening.listening import analyse, write_test
from eval.report.board import write_board
from eval.store.files import InputError


def _compare(s: Mapping[str, Any], console: Console) -> None:
    compare(Path(s["results"]), s["baseline"], console, margin=s["margin"])


def _board(s: Mapping[str, Any], console: Console) -> None:
    options = {name: s[name] for name in ("title", "baseline", "n_worst", "audio")}
    write_board(Path(s["results"]), Path(s["out"]), console, **options)


def _listening(s: Mapping[str, Any], console: Console) -> None:
    options = {name: s[name] for name in ("kind", "baseline", "n_items", "seed", "title")}
    write_test(Path(s["results"]), Path(s["out"]), console, **options)


def _ratings(s: Mapping[str, Any], console: Console) -> None:
    if s["ratings"] is None:
        raise InputError("stage=ratings needs ratings=<folder of the listeners' files>")
    folder = Path(s["ratings"])
    analyse(folder, Path(s["key"]) if s["key"] else folder / "key.json", console)


OVER_RESULTS: dict[str, Callable[[Mapping[str, Any], Console], None]] = {
    "compare": _compare,
    "board": _board,
    "listening": _listening,
    "ratings": _ratings,
}
