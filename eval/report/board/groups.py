"""Systems that may be ranked together: one test set and one recipe of WER, by their profile's headline.

Other metrics are compared where their own recipes are equal: a baseline with another encoder has no
difference of similarity.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from eval.analysis.measures import Measure
from eval.analysis.statistics import Difference
from eval.analysis.summary import Line, adjusted, leaderboard_line, line_against
from eval.metrics.text.profiles import MEAN
from eval.report.recipes import profile_of
from eval.store.evaluations import Evaluated
from eval.store.files import sha256_json

HEADLINES = {
    True: "wer_utterance_mean",
    False: "wer",
}  # by whether the profile's headline is the mean


@dataclass(frozen=True)
class Entry:
    """One system of a table: its evaluation, its line, and the file of its page."""

    one: Evaluated
    line: Line
    page: str


@dataclass(frozen=True)
class Group:
    """Systems that may be ranked, the best headline first."""

    entries: tuple[Entry, ...]
    headline: str  # name of the measure

    @property
    def systems(self) -> list[Evaluated]:
        return [entry.one for entry in self.entries]

    @property
    def lines(self) -> list[Line]:
        return [entry.line for entry in self.entries]

    @property
    def size(self) -> int:
        """Sentences of the test set."""
        return len(self.entries[0].one.rows)

    @property
    def voices(self) -> int:
        """Clusters of the statistics."""
        return self.entries[0].line.n_voices

    @property
    def measures(self) -> list[Measure]:
        """Those that any system has a value of: the headline, the other rates of word errors, the rest."""
        known = {measure.name: measure for line in self.lines for measure in line.measures}
        valued = {name for line in self.lines for name in line.estimates}
        found = [measure for name, measure in known.items() if name in valued]
        return sorted(
            found,
            key=lambda one: (one.name != self.headline, one.metric.partition(":")[0] != "wer"),
        )


def headline_of(one: Evaluated) -> str:
    """Name of the measure that the profile of a system's WER is known by."""
    return HEADLINES[profile_of(one).headline == MEAN]


def make_groups(systems: Sequence[Evaluated], baseline: str | None) -> list[Group]:
    """Systems by test set and recipe of WER, the largest group first; differences to the baseline's equal seed.

    Raises InputError for a profile that this program does not have.
    """
    by_rules: dict[tuple[str, str, int], list[Evaluated]] = {}
    for one in systems:
        by_rules.setdefault(one.rules, []).append(one)
    groups = [_group(members, systems, baseline) for members in by_rules.values()]
    return sorted(groups, key=lambda group: -len(group.entries))


def _group(
    members: Sequence[Evaluated], systems: Sequence[Evaluated], baseline: str | None
) -> Group:
    bases = {one.seed: one for one in members if one.name == baseline}
    lines = []
    for one in members:
        line = leaderboard_line(one.name, one.card, one.rows)
        base = bases.get(one.seed)
        if base is not None and base is not one:
            line = line_against(line, one.rows, base.name, base.rows)
            line = replace(line, differences=_comparable(line, one, base))
        lines.append(line)
    headline = headline_of(members[0])
    entries = [
        Entry(one, line, page_name(one, systems))
        for one, line in zip(members, adjusted(lines), strict=True)
    ]
    return Group(tuple(sorted(entries, key=lambda entry: _rank(entry, headline))), headline)


def _comparable(line: Line, one: Evaluated, base: Evaluated) -> dict[str, Difference]:
    metric = {measure.name: measure.metric for measure in line.measures}
    return {
        name: gap
        for name, gap in line.differences.items()
        if one.recipes.get(metric[name]) == base.recipes.get(metric[name])
    }


def _rank(entry: Entry, headline: str) -> tuple[bool, float, str]:
    found = entry.line.estimates.get(headline)
    return found is None, found.point if found else 0.0, entry.one.name


def page_name(one: Evaluated, systems: Sequence[Evaluated]) -> str:
    """File of a system's page: its name, with a mark where another one's would be the same.

    Compared without case, as some file systems do.
    """
    plain = re.sub(r"[^\w.-]", "_", one.name)
    same = [
        other
        for other in systems
        if re.sub(r"[^\w.-]", "_", other.name).casefold() == plain.casefold()
    ]
    if len(same) == 1:
        return f"{plain}.html"
    mark = sha256_json([one.name, one.seed, *one.rules])[:8]
    return f"{plain}-seed{one.seed}-{mark}.html"
