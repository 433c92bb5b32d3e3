"""The classes of what goes wrong with a sentence, as readers see them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eval.analysis.summary import Line

# Class of a row -> what it is called, the mildest first.
NAMES = {
    "ok": "without fault",
    "substituted": "other words",
    "wrong_length": "wrong length",
    "cut_short": "cut short",
    "loop": "loop",
    "babble": "babble",
    "empty": "empty",
}


@dataclass(frozen=True)
class FaultShare:
    """A class and its share of a system's classified sentences: `text` in percent with its interval."""

    name: str
    title: str
    percent: float
    text: str


def classes_of(lines: Iterable[Line]) -> list[str]:
    """The faults that any of the systems has, in the order of NAMES; not "ok"."""
    found = {name for line in lines for name, share in line.faults.items() if share.point} - {"ok"}
    return [name for name in NAMES if name in found] + sorted(found - NAMES.keys())


def shares(line: Line, classes: Sequence[str]) -> list[FaultShare]:
    """Of each class, [] for a system whose rows were not classified."""
    if not line.faults:
        return []
    found = []
    for name in classes:
        share = line.faults.get(name)
        point = 100 * share.point if share else 0.0
        text = f"{point:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]" if share else "0"
        found.append(FaultShare(name, NAMES.get(name, name), point, text))
    return found
