"""The leaderboard in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from eval.analysis.summary import Line
from eval.console import number_table
from eval.report.columns import caption, terminal_columns


def leaderboard_table(lines: Sequence[Line], title: str) -> Table:
    """The headline columns of the leaderboard, narrow enough for a terminal of 80 characters."""
    columns = terminal_columns(lines)
    rows = [[text(line) for _, text in columns] for line in lines]
    table = number_table(title, [header for header, _ in columns], rows)
    table.caption, table.caption_justify = caption(lines), "left"
    return table
