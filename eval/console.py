"""The one look of progress bars and of tables of numbers in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table


def progress_bar(console: Console) -> Progress:
    """A bar with count, elapsed and remaining time."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def number_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Names to the left, numbers to the right. A long name may break; a number must not.

    Brackets are text here: names and versions may hold them.
    """
    table = Table(
        title=escape(title), box=None, padding=(0, 1), pad_edge=False, collapse_padding=True
    )
    for number, header in enumerate(headers):
        table.add_column(
            escape(header),
            justify="right" if number else "left",
            no_wrap=bool(number),
            overflow="fold",
            min_width=None if number else 8,
        )
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table
