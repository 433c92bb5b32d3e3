"""Lists of long texts: whole sentences, as many as asked for, each in a voice of the list."""

import sys

import numpy as np
import pytest
import soundfile

from eval.testset import read_meta
from tools import long_form
from tools.long_form import long_texts


@pytest.fixture
def meta(tmp_path):
    for voice in ("a", "b"):
        wave = 0.1 * np.random.default_rng(0).standard_normal(16_000)
        soundfile.write(tmp_path / f"{voice}.wav", wave, 16_000)
    lines = [
        f"u{i}|the prompt|{'ab'[i % 2]}.wav|sentence number {chr(97 + i)}{'?' * (i % 2)}||v{i % 2}"
        for i in range(6)
    ]
    (tmp_path / "meta.lst").write_text("\n".join(lines) + "\n")
    return tmp_path / "meta.lst"


def test_texts_are_sentences_of_the_list_from_places_apart(meta):
    made = long_texts(read_meta(meta), [0.5, 2], voices=2, words_per_minute=10)
    assert [name for name, _, _ in made] == [
        *("long-0.5min-00", "long-0.5min-01", "long-2min-00", "long-2min-01")
    ]
    assert made[0][2] == "sentence number a. sentence number b?"
    assert made[1][2] == "sentence number d? sentence number e."
    assert [item.voice for _, item, _ in made] == ["v0", "v1", "v0", "v1"]
    # Longer than the list: it starts again.
    assert len(made[2][2].split()) == 21


def test_the_command_writes_a_list_that_can_be_read(meta, tmp_path, monkeypatch, capsys):
    out = tmp_path / "deep" / "er"
    words = ["x", f"meta={meta}", f"out={out}", "minutes=1", "voices=2", "words_per_minute=12"]
    monkeypatch.setattr(sys, "argv", words)
    long_form.main()
    items = read_meta(out / "meta.lst")
    assert "2 texts" in capsys.readouterr().out and len(items) == 2
    assert (
        items[0].prompt_wav and items[0].prompt_wav.resolve() == (meta.parent / "a.wav").resolve()
    )
    assert items[0].recording is None and items[1].voice == "v1"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("voices=3", "voices=3: the list has 2"),
        ("minutes=0", "above 0"),
        ("minutes=x", "could not"),
    ],
)
def test_wrong_settings_are_named(meta, tmp_path, monkeypatch, word, message):
    monkeypatch.setattr(
        sys, "argv", ["x", f"meta={meta}", f"out={tmp_path / 'o'}", "voices=2", word]
    )
    with pytest.raises(SystemExit, match=message):
        long_form.main()
