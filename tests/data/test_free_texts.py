"""Texts for a teacher to speak, and that none of them is held out."""

import pandas as pd
import pytest

from data.corpus.lexicon import vocabulary
from data.free_texts import free_texts
from mamtra.text.characters import CharacterTokenizer

READER = CharacterTokenizer()
HELD_OUT = "we met the old captain at noon"


@pytest.fixture
def table():
    rows = [("train", "one text."), ("train", "two texts."), ("train", "one text.")]
    rows += [("valid", HELD_OUT), ("test", "say it again.")]
    return pd.DataFrame(rows, columns=["split", "text"])


def test_the_corpus_gives_its_training_texts_once(table):
    found = free_texts("corpus", table, READER, None, 0)
    assert found.texts == ("one text.", "two texts.")
    assert free_texts("corpus", table, READER, 1, 0).texts == ("one text.",)


def test_a_file_is_read_line_by_line_without_what_is_held_out(table, tmp_path):
    lines = [
        "Hello there",
        "",
        "hello there.",
        f"{HELD_OUT} today",
        "Say it again.",
        "say it",
        "3 😀",
    ]
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    found = free_texts(str(path), table, READER, None, 0)
    assert found.texts == ("hello there.", "say it.")
    assert (found.unreadable, found.held_out) == (1, 2)


def test_the_grammar_speaks_in_the_words_of_the_table(table):
    known = [word for word in vocabulary() if word != "doctor"]
    words = pd.DataFrame({"split": "train", "text": [" ".join(known)]})
    whole = pd.concat([table, words])
    found = free_texts("grammar", whole, READER, 200, 0)
    assert len(found.texts) == 200 and len(set(found.texts)) == 200
    assert not any("doctor" in text.rstrip(".").split() for text in found.texts)
    assert found.texts[:50] == free_texts("grammar", whole, READER, 50, 0).texts
    assert found.texts != free_texts("grammar", whole, READER, 200, 1).texts


@pytest.mark.parametrize(
    ("source", "rows", "error", "message"),
    [
        ("nowhere.txt", None, FileNotFoundError, "corpus, grammar, wordnet"),
        ("grammar", None, ValueError, "rows="),
        ("grammar", 5, ValueError, "whose training texts know its words"),
    ],
)
def test_what_is_missing_is_named(table, source, rows, error, message):
    with pytest.raises(error, match=message):
        free_texts(source, table, READER, rows, 0)


def test_nothing_left_is_an_error(table, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("say it again.\n")
    with pytest.raises(ValueError, match="leaves nothing to speak: 0 texts cannot be read, 1 are"):
        free_texts(str(path), table, READER, None, 0)
