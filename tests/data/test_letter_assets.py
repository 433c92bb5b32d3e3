"""The open system's assets with letters in place of phonemes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.letter_assets import with_letters, write_letter_assets
from mamtra.systems import mini_text
from mamtra.text.characters import CharacterTokenizer

OPEN = Path("assets/open")


def test_a_folder_with_letters_is_one_that_a_teacher_can_be_trained_on(tmp_path):
    out = write_letter_assets(OPEN, tmp_path / "letters")
    assert isinstance(mini_text(out), CharacterTokenizer)
    for name in ("codec.safetensors", "meta.lst", "prompts/prompt-v01-0.flac"):
        assert (out / name).read_bytes() == (OPEN / name).read_bytes()
    assert not (out / "teacher").exists() and not (out / "CARD.md").exists()
    lost = total = 0
    given, made = (pd.read_parquet(folder / "tokens.parquet") for folder in (OPEN, out))
    pd.testing.assert_frame_equal(given.drop(columns="alignment"), made.drop(columns="alignment"))
    for row in made.itertuples():
        assert len(row.alignment) == len(row.tokens) and row.alignment.max() < len(row.text)
        assert (np.diff(row.alignment) >= 0).all()
        words = np.cumsum([letter == " " for letter in row.text])[row.alignment]
        lost, total = (
            lost + row.text.count(" ") + 1 - len(set(words)),
            total + row.text.count(" ") + 1,
        )
    assert (
        lost < 0.01 * total
    )  # "of the" is one word to espeak: a short word may be the middle of no token


def test_only_a_system_of_phonemes_is_rewritten(tmp_path):
    with pytest.raises(ValueError, match="names the text frontend 'characters', not 'phonemes'"):
        write_letter_assets(Path("assets/mini"), tmp_path / "letters")
    with pytest.raises(FileNotFoundError, match=r"assets= should be assets/open"):
        write_letter_assets(tmp_path, tmp_path / "letters")
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="name another out="):
        write_letter_assets(OPEN, tmp_path / "there")


def test_an_alignment_of_another_text_names_its_utterance():
    table = pd.DataFrame({"utterance": ["a-1"], "text": ["a cat."], "alignment": [np.array([40])]})
    with pytest.raises(ValueError, match="a-1: an alignment to phonemes 0 to 5"):
        with_letters(table)
