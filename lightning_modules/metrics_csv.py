"""metrics.csv of a run: the logger of `logger=csv`, which grids and reports read."""

import csv
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from lightning_modules.console import say


def content(rows: Sequence[Mapping[str, str]]) -> tuple[int, int]:
    """The number of rows, and a checksum of what they say, in whatever columns."""
    said = [[cell for cell in row.items() if cell[1]] for row in rows]
    return len(rows), zlib.crc32(json.dumps(said).encode())


class MetricsCsv(Logger):
    """One file, one row per call, `step` first. It can be read at any time, and a resumed run goes on in it.

    Lightning's CSVLogger keeps all rows in memory, writes the file anew for new columns, and leaves the
    rows of a resumed run in it that were computed again.
    """

    def __init__(self, path: str | Path):
        super().__init__()
        self.path, self.columns = Path(path), ["step"]

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The settings are in config.json."""

    @rank_zero_only
    def start(
        self, columns: Sequence[str], step: int, written: Sequence[int] | None = None
    ) -> None:
        """Writes the header, and again the rows up to `step` of an earlier part of this run: those after its
        checkpoint are computed again. Says so when they are not those that were `written` (`content`)."""
        rows = self._rows() if step else []
        kept = [row for row in rows if row["step"].isdecimal() and int(row["step"]) <= step]
        if written and content(kept[: written[0]]) != tuple(written):
            say(
                f"{self.path} is damaged: its rows up to step {step} are not those that were written. "
                "The training is not: it goes on from its checkpoint"
            )
        self.columns = [*columns, *(n for row in kept[:1] for n in row if n not in columns)]
        self._write(kept)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if new := [name for name in metrics if name not in self.columns]:  # of a user's callback
            self.columns += new
            self._write(self._rows())
        cells = {name: f"{float(value):.6g}" for name, value in metrics.items()}
        if "elapsed_s" in metrics:
            cells["elapsed_s"] = f"{metrics['elapsed_s']:.1f}"
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow({"step": step, **cells})

    def written(self) -> tuple[int, int]:
        """What `start` of the next part of this run will look for."""
        return content(self._rows())

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", errors="replace") as file:
            return list(csv.DictReader(file))

    def _write(self, rows: Sequence[Mapping[str, str]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".partial")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(temporary, self.path)
