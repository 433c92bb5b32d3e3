"""The committed files that documents take their numbers from, each read once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eval.analysis.statistics import Difference, Interval, paired_difference, rate_interval
from eval.store.files import InputError, read_json
from studies.grid_table import of_plans
from studies.results import GridResults, read_results

Row = Mapping[str, Any]
TEACHER = ("1to0", "blockbeg")


class Sources:
    """Files below `root`, the checkout. Every method raises InputError for a file that is not there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[Any, Any] = {}

    def csv(self, name: str) -> list[Row]:
        """The rows of a table, for instance `results/mini-grammar/mos/leaderboard.csv`. Empty cells are NaN."""
        return self._once(name, lambda path: records(pd.read_csv(path)))

    def text_csv(self, name: str) -> list[dict[str, str]]:
        """The same with every cell as the text that stands there; empty cells are ""."""
        return self._once(
            name, lambda path: records(pd.read_csv(path, dtype=str, keep_default_na=False))
        )

    def json(self, name: str) -> Any:
        """A JSON file."""
        return self._once(name, read_json)

    def parquet(self, name: str, columns: tuple[str, ...] | None = None) -> list[Row]:
        """The rows of a parquet table, some of its columns or all."""
        return self._once(
            name,
            lambda path: records(pd.read_parquet(path, columns=list(columns) if columns else None)),
            columns,
        )

    def lines(self, name: str) -> list[str]:
        """The lines of a text file."""
        return self._once(name, lambda path: path.read_text(encoding="utf-8").splitlines())

    def study(self, name: str, system: str = "mini-grammar", more: Sequence[str] = ()) -> Study:
        """A grid or a study below results/<system>; `more` of them whose cells are of the same table."""
        places = tuple(f"results/{system}/{one}" for one in (name, *more))
        if places not in self._read:
            self._read[places] = Study(joined([read_results(self.root / one) for one in places]))
        return self._read[places]

    def _once(self, name: str, read: Any, part: Any = None) -> Any:
        if (name, part) not in self._read:
            path = self.root / name
            if not path.is_file():
                raise InputError(f"{name} does not exist: documents take numbers from it")
            self._read[name, part] = read(path)
        return self._read[name, part]


def joined(results: Sequence[GridResults]) -> GridResults:
    """Tables of different works as one; the manifest is that of the first."""
    if len(results) == 1:
        return results[0]

    def whole(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
        return pd.concat(frames, ignore_index=True)

    cells, utterances = (
        whole([one.cells for one in results]),
        whole([one.utterances for one in results]),
    )
    return GridResults(
        cells, utterances, whole([one.curves for one in results]), results[0].manifest
    )


class Study:
    """Finished cells with their utterances: rates and paired differences, all by the project's statistics."""

    def __init__(self, results: GridResults) -> None:
        self.results = results
        self.cells = records(results.done())

    @cached_property
    def students(self) -> list[Row]:
        """Cells of Mamba layers alone and seed 0 that are not the teacher."""
        kept = records(of_plans(self.results.done()))
        return [cell for cell in kept if cell["seed"] == 0 and cell["ratio"] != TEACHER[0]]

    @cached_property
    def plans(self) -> list[Row]:
        """The same, one row per layer plan."""
        return by_work(self.students)

    def works(self, ratio: str, placement: str, overrides: str = "") -> dict[int, str]:
        """Seed -> work of a cell. Raises InputError when there is none."""
        found = {
            int(cell["seed"]): str(cell["work"])
            for cell in self.cells
            if (cell["ratio"], cell["placement"]) == (ratio, placement)
            and overrides in str(cell["overrides"])
        }
        if not found:
            raise InputError(f"no finished cell {ratio} {placement} {overrides}".rstrip())
        return dict(sorted(found.items()))

    def cell(self, work: str) -> Row:
        """The row of a work."""
        return next(cell for cell in self.cells if cell["work"] == work)

    def wer(self, work: str) -> Interval:
        """Corpus WER."""
        errors, words, clusters = self.results.errors([work])
        return rate_interval(errors[0], words, clusters)

    def wers(self, works: dict[int, str]) -> list[float]:
        """Corpus WER of each seed."""
        return [float(self.cell(work)["wer_corpus"]) for work in works.values()]


def difference(
    own: Study, works: dict[int, str], base: Study, base_works: dict[int, str]
) -> Difference:
    """Corpus WER of works less that of others, over the seeds that both have.

    Raises InputError when they share no seed or no utterance.
    """
    seeds = [seed for seed in works if seed in base_works]
    if not seeds:
        raise InputError(f"no common seed: {list(works)} and {list(base_works)}")
    ours, theirs = [works[seed] for seed in seeds], [base_works[seed] for seed in seeds]
    if own is base and set(ours) & set(theirs):
        raise InputError(f"a work compared with itself: {', '.join(ours + theirs)}")
    # Two grids may have works of the same name: its hash is of their settings, not of what they start from.
    tables = [
        study.results.utterances.assign(work=side + study.results.utterances["work"].astype(str))
        for side, study in (("own ", own), ("base ", base))
    ]
    both = GridResults(own.results.cells, pd.concat(tables), own.results.curves, {})
    names = [f"own {work}" for work in ours] + [f"base {work}" for work in theirs]
    errors, words, clusters = both.errors(names)
    here, there = np.split(errors, 2)
    return paired_difference(here, there, words, clusters)


def validation(study: Study, work: str) -> dict[int, float]:
    """Validation cross-entropy of a work by step."""
    rows = records(study.results.curves)
    return {
        int(row["step"]): float(row["val_ce"])
        for row in rows
        if row["work"] == work and not math.isnan(row["val_ce"])
    }


def steps_to(curve: Mapping[int, float], value: float) -> float:
    """First step at which `curve` is at `value` or below, linear between two points; NaN if never."""
    before: tuple[int, float] | None = None
    for step, loss in sorted(curve.items()):
        if loss <= value:
            if before is None:
                return float(step)
            share = (before[1] - value) / (before[1] - loss)
            return before[0] + share * (step - before[0])
        before = step, loss
    return math.nan


def by_work(rows: Sequence[Row]) -> list[Row]:
    """The first row of each work."""
    return list({row["work"]: row for row in reversed(rows)}.values())[::-1]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as its rows."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def percent(value: float, digits: int = 2) -> str:
    """0.0688 -> "6.88"."""
    return f"{100 * value:.{digits}f}"


def mean_wer(study: Study, works: dict[int, str]) -> str:
    """Mean corpus WER % over the seeds of a cell."""
    return percent(float(np.mean(study.wers(works))), 1)


def rate(interval: Interval, digits: int = 2) -> str:
    """ "6.88 [5.56, 8.30]"."""
    low, high = percent(interval.low, digits), percent(interval.high, digits)
    return f"{percent(interval.point, digits)} [{low}, {high}]"


def points(interval: Interval, digits: int = 1) -> str:
    """ "+0.4 [-0.8, +1.8]"."""
    return signed((interval.point, interval.low, interval.high), 100, digits)


def stored_interval(row: Row, name: str, clusters: int) -> Interval:
    """The interval of a leaderboard's column, as the file has it."""
    point, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return Interval(point, low, high, int(row["n_scored"]), clusters)


def between(values: Any, form: str) -> str:
    """ "7 to 23", or one number where both are the same."""
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"


def signed(ends: Sequence[Any], factor: float, digits: int) -> str:
    """A difference with its interval: `ends` are its point, its low and its high end, each times `factor`."""
    point, low, high = (f"{factor * float(end):+.{digits}f}" for end in ends)
    return f"{point} [{low}, {high}]"


def markdown(headers: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(headers) + " |", "|" + "---|" * len(headers)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
