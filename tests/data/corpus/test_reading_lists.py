"""The lists that tell reading from reciting: same words, another order; prompts of the test list."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from data.corpus import reading_lists as lists
from data.corpus.reading_lists import PLAIN, reading_lists, write_lists
from data.corpus.test_list import TestItem
from data.corpus.test_list import test_items as items_of
from eval.testset import read_meta

ASSETS = Path(__file__).parents[3] / "assets/open"


def items(texts):
    return [
        TestItem(f"test-{i:04d}", t, f"prompt-v{i}", "hi.", f"v{i}") for i, t in enumerate(texts)
    ]


def test_shuffled_texts_have_the_same_words_in_another_order():
    made = reading_lists(items(["one two three four?", "no no.", "yes", "a, b."]))["shuffled"]
    texts = [item.text for item in made]
    assert texts[0] != "one two three four?" and texts[0].endswith("?")
    assert sorted(texts[0].rstrip("?").split()) == ["four", "one", "three", "two"]
    assert texts[1:] == ["no no.", "yes", "b a."]
    assert [item.prompt for item in made] == [f"prompt-v{i}" for i in range(4)]
    assert (
        made == reading_lists(items(["one two three four?", "no no.", "yes", "a, b."]))["shuffled"]
    )


def test_plain_sentences_are_in_no_text_of_the_corpus_and_share_no_five_words_with_training():
    from data.corpus.open_split import ngrams

    table = pd.read_parquet(ASSETS / "tokens.parquet", columns=["split", "text"])
    known = set().union(*map(ngrams, set(table[table.split == "train"].text)))
    assert not [text for text in PLAIN if ngrams(text) & known]
    assert not {text.lower() for text in PLAIN} & set(table.text)


def test_both_lists_can_be_read(tmp_path):
    write_lists(items([f"sentence {i} here." for i in range(30)]), tmp_path, "prompts", ".flac")
    plain = (tmp_path / "plain.lst").read_text().splitlines()
    assert len(plain) == len(PLAIN) and plain[0].startswith(
        "plain-00|hi.|prompts/prompt-v0.flac|Yesterday"
    )
    assert len((tmp_path / "shuffled.lst").read_text().splitlines()) == 30


@pytest.mark.parametrize("name", ["plain", "shuffled"])
def test_the_shipped_lists_are_made_of_the_shipped_table(name):
    shipped = read_meta(ASSETS / f"{name}.lst")
    made = reading_lists(items_of(pd.read_parquet(ASSETS / "tokens.parquet")))[name]
    pairs = [(i.utterance, i.text, i.voice) for i in shipped]
    if name == "plain":
        assert [text for _, text, _ in pairs] == [item.text for item in made] == list(PLAIN)
    assert len({voice for _, _, voice in pairs}) == {"plain": 20, "shuffled": 30}[name]


def test_recordings_are_made_of_both(tmp_path, monkeypatch, capsys):
    columns = ["utterance", "split", "text", "voice"]
    rows = [("test-0000", "test", "the end is near.", "v0"), ("prompt-v0-0", "prompt", "hi.", "v0")]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "manifest.csv", index=False)
    (tmp_path / "voices.json").write_text(json.dumps({"voices": []}))
    asked = []

    def render(rows, voices, out, name, workers):
        asked.extend(row.utterance for row in rows)
        status = ["bad" if "plain" in row.utterance else "ok" for row in rows]
        return pd.DataFrame({"utterance": [row.utterance for row in rows], "status": status})

    monkeypatch.setattr(lists, "render", render)
    monkeypatch.setattr(sys, "argv", ["x", f"corpus={tmp_path}"])
    lists.main()
    assert asked == ["plain-00", "shuffled-test-0000"]
    assert "not recorded: plain-00: bad" in capsys.readouterr().out
    (tmp_path / "voices.json").unlink()
    with pytest.raises(SystemExit, match=r"voices\.json is missing"):
        lists.main()
