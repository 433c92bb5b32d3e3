"""stage=ratings: the listeners' files + key.json -> what they say of each system.

<answers>/ratings.csv     per system: mean with its interval, listeners, answers; mos with a baseline: the
                          difference to it
<answers>/listeners.csv   per listener: checks, failed, whether left out
<answers>/answers.csv     every answer with its system, excluded listeners' too
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from eval.console import number_table
from eval.listening.answers import Answers, read_answers
from eval.listening.crossed import CrossedMean, crossed_mean
from eval.listening.questions import ALLOWED_TO_FAIL
from eval.store.files import write_text


@dataclass(frozen=True)
class Rating:
    """Mean over listeners and sentences of a system: a MOS, or the share of pairs it wins (ties half).

    `difference` to the baseline's MOS, where there is one. An interval is nan with a single listener.
    """

    system: str
    answers: int
    mean: CrossedMean
    difference: CrossedMean | None = None


def analyse(folder: Path, key: Path, console: Console) -> list[Rating]:
    """Rate every system by the files in `folder`, best first; write and print the tables.

    Raises:
        InputError: as `read_answers`.
    """
    answers = read_answers(folder, key)
    ratings = rate(answers)
    excluded = [listener for listener in answers.listeners if listener.excluded]
    n_kept = len(answers.listeners) - len(excluded)
    table = []
    for one in ratings:
        gap = one.difference
        table.append(
            {
                "system": one.system,
                "listeners": n_kept,
                "listeners_excluded": len(excluded),
                "answers": one.answers,
                "mean": one.mean.point,
                "low": one.mean.low,
                "high": one.mean.high,
                "difference": gap and gap.point,
                "difference_low": gap and gap.low,
                "difference_high": gap and gap.high,
            }
        )
    people = [
        {"listener": one.name, "checks": one.checks, "failed": one.failed, "excluded": one.excluded}
        for one in answers.listeners
    ]
    for name, content in (
        ("ratings.csv", pd.DataFrame(table)),
        ("listeners.csv", pd.DataFrame(people)),
        ("answers.csv", answers.frame),
    ):
        write_text(folder / name, content.to_csv(index=False, float_format="%.4f"))
    for one in excluded:
        console.print(
            f"left out: {one.name} failed {one.failed} of {one.checks} checks "
            f"(more than {ALLOWED_TO_FAIL:.0%})",
            markup=False,
            soft_wrap=True,
        )
    headers = ["system", "answers"]
    headers += [
        "MOS [95 % CI]" if answers.kind == "mos" else f"preferred to {answers.baseline} [95 % CI]"
    ]
    compared = any(one.difference for one in ratings)
    if compared:
        headers.append(f"Δ {answers.baseline} [95 % CI]")
    rows = []
    for one in ratings:
        cells = [one.system, str(one.answers), _cell(one.mean, "")]
        if compared:
            cells.append(_cell(one.difference, "+") if one.difference else "–")
        rows.append(cells)
    title = f"{n_kept} listeners, {len(excluded)} left out"
    console.print(number_table(title, headers, rows))
    console.print(f"-> {folder / 'ratings.csv'}", soft_wrap=True, markup=False, highlight=False)
    return ratings


def rate(answers: Answers) -> list[Rating]:
    """The systems' ratings by the listeners who are not excluded, best first."""
    kept = answers.frame[~answers.frame["excluded"]]
    by_system = {str(name): pd.DataFrame(part) for name, part in kept.groupby("system")}
    base = by_system.get(str(answers.baseline)) if answers.kind == "mos" else None
    ratings = []
    for name, part in by_system.items():
        difference = None
        if base is not None and name != answers.baseline:
            pairs = part.merge(base, on=["listener", "utterance"], suffixes=("", "_base"))
            pairs["value"] -= pairs["value_base"]
            difference = crossed_mean(pairs, (-4.0, 4.0))
        bounds = (1.0, 5.0) if answers.kind == "mos" else (0.0, 1.0)
        ratings.append(Rating(name, len(part), crossed_mean(part, bounds), difference))
    return sorted(ratings, key=lambda one: (-one.mean.point, one.system))


def _cell(interval: CrossedMean, sign: str) -> str:
    if math.isnan(interval.low):
        return f"{interval.point:{sign}.2f}"
    return f"{interval.point:{sign}.2f} [{interval.low:{sign}.2f}, {interval.high:{sign}.2f}]"
