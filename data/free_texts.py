"""Texts for a teacher to speak, none of which is held out.

    corpus    the training texts of the token table
    grammar   sentences of the mini system's grammar in the words of those texts: without end
    wordnet   what the open corpus trains on (`data.corpus.open_split`), from the Debian package wordnet-base
    <file>    plain text, one text a line

New texts (grammar and files) share no five words in a row with a held-out text of the table; the other two are
training texts by their own splits.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import pandas as pd

from data.corpus.lexicon import vocabulary
from data.corpus.open_split import divide, ngrams, words_of
from data.corpus.sentences import SentenceGenerator
from data.corpus.wordnet import WordNet

SOURCES = ("corpus", "grammar", "wordnet")


class Reader(Protocol):
    """What this needs of a text frontend (`mamtra.systems.TextFrontend`)."""

    def encode(self, text: str) -> list[int]: ...
    def pieces(self, text: str) -> list[str]: ...


@dataclass(frozen=True)
class FreeTexts:
    """`texts`: distinct, as a model reads them. `unreadable` texts have nothing that it could read, `held_out`
    ones are too near to a held-out text."""

    texts: tuple[str, ...]
    unreadable: int
    held_out: int


def free_texts(
    source: str, table: pd.DataFrame, reader: Reader, rows: int | None, seed: int
) -> FreeTexts:
    """The texts of `source`, at most `rows` of them, in the pieces that `reader` cuts them into.

    Raises ValueError for a grammar without `rows`, for one that cannot be spoken in the words of `table`, and
    when nothing is left; FileNotFoundError for a file that is missing.
    """
    training, held_out = table[table["split"] == "train"], table[table["split"] != "train"]
    guarded = source not in ("corpus", "wordnet")
    forbidden = set().union(*map(_ngrams, held_out["text"])) if guarded else set()
    found: dict[str, None] = {}
    unreadable = near = 0
    for text in _given(source, list(training["text"]), rows, seed):
        try:
            pieces = [piece for piece in reader.pieces(text) if reader.encode(piece)]
        except ValueError:
            pieces = []
        unreadable += not pieces
        for piece in pieces:
            if forbidden.isdisjoint(_ngrams(piece)):
                found[piece] = None
            else:
                near += 1
        if rows is not None and len(found) >= rows:
            break
    texts = tuple(islice(found, rows))
    if not texts:
        raise ValueError(
            f"texts={source} leaves nothing to speak: {unreadable} texts cannot be read, {near} are held out"
        )
    return FreeTexts(texts, unreadable, near)


def _ngrams(text: str) -> set[tuple[str, ...]]:
    return ngrams(text.lower())


def _given(source: str, training: Sequence[str], rows: int | None, seed: int) -> Iterable[str]:
    if source == "corpus":
        return dict.fromkeys(training)
    if source == "grammar":
        return _grammar(training, rows, seed)
    if source == "wordnet":
        # Here, because the open corpus needs the [corpus] extra.
        from data.corpus.open_build import POOL, SEED

        return divide(WordNet(), POOL, SEED).training
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(
            f"texts={source} is neither a file nor one of {', '.join(SOURCES)}: give one text a line"
        )
    return (line for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _grammar(training: Sequence[str], rows: int | None, seed: int) -> Iterator[str]:
    if rows is None:
        raise ValueError("texts=grammar has no end: say how many with rows=...")
    known = {word for text in training for word in words_of(text.lower())}
    try:
        generator = SentenceGenerator(seed, frozenset(vocabulary()) - known)
    except ValueError as error:
        raise ValueError(
            f"texts=grammar needs a table whose training texts know its words: {error}"
        ) from error
    while True:
        yield generator.draw()
