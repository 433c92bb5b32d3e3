"""Are words that no training text has read worse than others? Error rates of both, per system.

    python -m studies.seen_words results=<folder of an evaluation> tokens=<token table>

A reference word is wrong when it was substituted or deleted; inserted words belong to neither kind and are not
counted, so both rates are below the WER. Texts and transcripts are normalised as the evaluation did it. Prints
a table and writes <results>/seen_words.csv. Intervals are over voices.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eval.analysis.statistics import Interval, rate_interval
from eval.metrics.text.profiles import PROFILES, Profile
from eval.metrics.text.wer import word_diff
from eval.store.evaluations import Evaluated, read_evaluation
from eval.store.files import InputError, write_text

KINDS = ("seen", "unseen")


@dataclass(frozen=True)
class WordRates:
    """Share of wrong words of one system among those that training texts have, and among the others.

    None where the list has no such word.
    """

    system: str
    seen: Interval | None
    unseen: Interval | None
    seen_words: int
    unseen_words: int

    @property
    def ratio(self) -> float | None:
        """How many times as often unseen words are wrong; None where one rate is unknown or 0."""
        if self.seen is None or self.unseen is None or self.seen.point == 0:
            return None
        return self.unseen.point / self.seen.point


def training_words(tokens: Path, profile: Profile, language: str) -> frozenset[str]:
    """All words of the training texts of a token table. Raises InputError when there are none."""
    try:
        table = pd.read_parquet(tokens, columns=["split", "text"])
    except (OSError, ValueError) as error:
        raise InputError(f"{tokens} is no token table: {error}") from error
    texts = table.loc[table["split"] == "train", "text"]
    if texts.empty:
        raise InputError(f"{tokens} has no training texts (split=train)")
    return frozenset(w for text in texts for w in profile.normalise(text, language).split())


def wrong_words(reference: str, hypothesis: str) -> Iterable[tuple[str, bool]]:
    """Each word of a normalised reference, and whether it was substituted or deleted."""
    for part in word_diff(reference, hypothesis):
        yield from ((word, part.kind != "equal") for word in part.reference)


def word_rates(
    system: Evaluated, known: frozenset[str], profile: Profile, language: str
) -> WordRates:
    """Rates of one system; an utterance without a usable wav has lost all its words."""
    wrong: dict[str, list[int]] = {kind: [] for kind in KINDS}
    words: dict[str, list[int]] = {kind: [] for kind in KINDS}
    rows = [row for row in system.rows if row["reference_words"]]
    for row in rows:
        reference = profile.normalise(row["text"], language)
        heard = profile.hypothesis(row["transcript"] or "", language)
        judged = list(wrong_words(reference, heard))
        for kind in KINDS:
            own = [fault for word, fault in judged if (word in known) == (kind == "seen")]
            wrong[kind].append(sum(own))
            words[kind].append(len(own))
    voices = [row["voice"] for row in rows]
    found = {
        kind: rate_interval(wrong[kind], words[kind], voices) if sum(words[kind]) else None
        for kind in KINDS
    }
    n_seen, n_unseen = (sum(words[kind]) for kind in KINDS)
    return WordRates(system.name, found["seen"], found["unseen"], n_seen, n_unseen)


def _text(rate: Interval | None) -> str:
    if rate is None:
        return "–"
    return f"{100 * rate.point:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def report(results: Path, tokens: Path, console: Console) -> list[WordRates]:
    """Prints and writes the rates of every system of the evaluation. Raises InputError."""
    systems = read_evaluation(results)
    recipe = systems[0].recipes["wer"]
    profile, language = PROFILES[recipe["profile"]["name"]], recipe["language"]
    known = training_words(tokens, profile, language)
    rates = [word_rates(system, known, profile, language) for system in systems]
    table = Table(title=f"wrong words %, {len(known):,} training words", title_justify="left")
    for column in ("system", "seen words", "unseen words", "times"):
        table.add_column(column, justify="left" if column == "system" else "right")
    for one in rates:
        times = "–" if one.ratio is None else f"{one.ratio:.2f}"
        table.add_row(escape(one.system), _text(one.seen), _text(one.unseen), times)
    console.print(table)
    words = f"{rates[0].seen_words} seen and {rates[0].unseen_words} unseen words"
    console.print(words, markup=False)
    flat = pd.json_normalize([asdict(one) | {"ratio": one.ratio} for one in rates], sep="_")
    out = results / "seen_words.csv"
    write_text(out, flat.to_csv(index=False))
    console.print(f"-> {out}", markup=False, soft_wrap=True)
    return rates


def main() -> None:
    """Command line; ends with one line for what a user can act on."""
    parts = (argument.partition("=") for argument in sys.argv[1:])
    given = {name: value for name, _, value in parts}
    if given.keys() != {"results", "tokens"} or not all(given.values()):
        sys.exit(__doc__)
    try:
        report(Path(given["results"]), Path(given["tokens"]), Console())
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
