"""Recordings from the shipped table: which rows, and what is said of wrong ones. No audio is rendered."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from data.corpus import open_render
from data.corpus.open_render import chosen, render_shipped
from eval.testset import read_meta

ASSETS = Path(__file__).parents[3] / "assets/open"
SIZES = {"train": 3, "valid": 2, "test": 4}


@pytest.fixture(scope="module")
def table():
    columns = ["utterance", "split", "text", "voice"]
    return pd.read_parquet(ASSETS / "tokens.parquet", columns=columns)


def test_the_first_rows_are_taken_and_all_prompts_of_the_test_voices(table):
    rows = chosen(table, SIZES)
    assert {split: len(found) for split, found in rows.items()} == {**SIZES, "prompt": 8}
    assert [row.utterance for row in rows["train"]] == [
        "train-000000",
        "train-000001",
        "train-000002",
    ]
    assert {row.voice for row in rows["prompt"]} == {row.voice for row in rows["test"]}
    # The same sentences as the first of the shipped list.
    items = read_meta(ASSETS / "meta.lst", 4, need_prompts=False)
    assert [(i.utterance, i.text) for i in items] == [(r.utterance, r.text) for r in rows["test"]]


def test_every_row_has_a_voice_that_ships(table):
    voices = {v["name"] for v in json.loads((ASSETS / "voices.json").read_text())["voices"]}
    assert set(table["voice"]) <= voices


def test_the_corpus_has_manifest_times_and_list(tmp_path, monkeypatch):
    def made(rows, voices, out, name, workers):
        facts = [vars(row) | {"wav": f"wavs/{row.utterance}.wav"} for row in rows]
        more = {"duration_s": 2.0, "status": "ok", "phonemes": "^a$", "ends": 1}
        return pd.DataFrame(facts).assign(**more)

    monkeypatch.setattr(open_render, "render", made)
    manifest = render_shipped(ASSETS, tmp_path, SIZES, 1)
    assert pd.read_csv(manifest)["split"].value_counts().to_dict() == {**SIZES, "prompt": 8}
    assert len((tmp_path / "meta.lst").read_text().splitlines()) == 4
    assert len(pd.read_parquet(tmp_path / "phonemes.parquet")) == 17


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["test=661"], "test=661: the table has 1 to 660"),
        (["valid=0"], "valid=0: the table has 1 to 350"),
        (["assets=nowhere"], "tokens.parquet is missing: assets= should be"),
    ],
)
def test_wrong_settings_are_named(tmp_path, monkeypatch, words, message):
    given = ["x", f"out={tmp_path}", f"assets={ASSETS}", *words]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit, match=message):
        open_render.main()
