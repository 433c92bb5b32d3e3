"""The token store: the same rows as the table that it was made of, and damage is named."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data.datamodule import TokenDataModule
from data.pack import pack
from data.store import NAME, check_store, open_store
from data.tokens import join_tables, read_token_table
from mamtra.text.characters import CharacterTokenizer
from tests.data.test_tokens import GOOD

ROOT = Path(__file__).parents[2]
TOKENIZER, CODES = CharacterTokenizer(), 10


@pytest.fixture
def parquet(tmp_path):
    """Rows of two splits, mixed, in row groups of two."""
    more = {name: values * 2 for name, values in GOOD.items()}
    more["utterance"] = ["a", "ä b", "c", "d", "e", "f"]
    more["alignment"] = [[0, 3, 7], [4], [0, 3]] * 2
    path = tmp_path / "tokens.parquet"
    pd.DataFrame(more).to_parquet(path, row_group_size=2)
    return path


@pytest.fixture
def store(parquet, tmp_path):
    return pack(parquet, tmp_path / "store", TOKENIZER, CODES)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_store_has_the_rows_of_its_parquet_table(parquet, store, split):
    mapped, read = (read_token_table(p, split, TOKENIZER, CODES) for p in (store, parquet))
    assert mapped.utterances == read.utterances and mapped.voices == read.voices
    assert mapped.lengths.tolist() == read.lengths.tolist()
    for name in ("text_ids", "speech_ids", "alignments"):
        ours, theirs = getattr(mapped, name), getattr(read, name)
        assert len(ours) == len(theirs) == len(read)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)), name
    assert isinstance(mapped.speech_ids.values, np.memmap)
    assert [mapped.can_stream((i,)) for i in range(len(read))] == [
        read.can_stream((i,)) for i in range(len(read))
    ]
    check_store(store)


def test_a_run_trains_on_a_store_as_on_its_table(parquet, store):
    options = {"max_tokens": 60, "pair_probability": 0.5, "seed": 1}
    both = [TokenDataModule(path, TOKENIZER, CODES, **options) for path in (parquet, store)]
    assert len({module.count_steps(2, 2, 1) for module in both}) == 1
    for name in ("train_dataloader", "val_dataloader"):
        first, second = (next(iter(getattr(module, name)())) for module in both)
        assert first.utterances == second.utterances and torch.equal(first.ids, second.ids)


def test_a_store_joins_a_table(parquet, store, tmp_path):
    other = pd.read_parquet(parquet).assign(utterance=list("uvwxyz"))
    other.to_parquet(tmp_path / "other.parquet")
    one, two = (
        read_token_table(path, "valid", TOKENIZER, CODES)
        for path in (store, tmp_path / "other.parquet")
    )
    both = join_tables([one, two])
    assert both.utterances == ("c", "f", "w", "z")
    assert both.alignments is not None
    assert both.alignments[2].tolist() == [0, 3] and both.speech_ids[1].tolist() == [3, 4]


def damage(store: Path, how: str) -> None:
    if how == "flipped bit":
        content = bytearray((store / "speech.bin").read_bytes())
        content[4] ^= 1
        (store / "speech.bin").write_bytes(content)
    elif how == "cut":
        (store / "text.bin").write_bytes((store / "text.bin").read_bytes()[:-4])
    elif how == "lost":
        (store / "names.bin").unlink()
    elif how == "half json":
        (store / NAME).write_text((store / NAME).read_text()[:40])
    elif how == "format":
        about = json.loads((store / NAME).read_text())
        (store / NAME).write_text(json.dumps(about | {"format": 9}))
    elif how == "splits":
        about = json.loads((store / NAME).read_text())
        (store / NAME).write_text(json.dumps(about | {"splits": {"train": [0, 99]}}))
    else:
        (store / NAME).unlink()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("flipped bit", r"speech\.bin is damaged"),
        ("cut", r"text\.bin has \d+ bytes, store\.json says"),
        ("lost", r"names\.bin does not exist"),
        ("half json", r"store\.json is damaged"),
        ("format", "is of format 9, this version reads 1"),
        ("splits", "splits leave its 6 rows"),
        ("no json", "is no token store, or not whole"),
    ],
)
def test_damage_is_named(store, how, message):
    damage(store, how)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        check_store(store)


def test_what_does_not_belong_together_is_named(parquet, store, tmp_path):
    with pytest.raises(ValueError, match="has tokens of 10 codes, the model 11"):
        read_token_table(store, "train", TOKENIZER, 11)
    with pytest.raises(ValueError, match=r"no utterance in split 'test'; splits: train, valid"):
        read_token_table(store, "test", TOKENIZER, CODES)

    class Other:
        def encode(self, text):
            return [0]

    with pytest.raises(ValueError, match=r"made with another text tokenizer: 'one two\.'"):
        read_token_table(store, "train", Other(), CODES)
    with pytest.raises(FileExistsError, match="choose another out="):
        pack(parquet, store, TOKENIZER, CODES)
    with pytest.raises(ValueError, match="stored as 16 bits"):
        pack(parquet, tmp_path / "large", TOKENIZER, 1 << 16)
    assert not list(tmp_path.glob("*.partial"))


def test_the_command(parquet, tmp_path):
    command = [sys.executable, "-m", "data.pack"]
    options = {"cwd": ROOT, "capture_output": True, "text": True}
    out = tmp_path / "made"
    made = [f"tokens={parquet}", f"out={out}", "text=characters", "codes=10"]
    left = (
        tmp_path / f"made.{socket.gethostname()}-{2**22 + 1}.partial"
    )  # of a process that was killed
    left.mkdir()
    assert subprocess.run([*command, *made], **options).returncode == 0
    assert not left.exists()
    again = subprocess.run([*command, *made], **options)  # as after a kill in the last moment
    assert (again.returncode, again.stdout) == (0, f"{out} is complete; nothing to do\n")
    other = subprocess.run([*command, *made[:3], "codes=11"], **options)
    assert other.returncode == 1 and "exists: choose another out=" in other.stderr
    assert open_store(out).about["rows"] == 6
    damage(out, "flipped bit")
    done = subprocess.run([*command, f"check={out}"], **options)
    assert done.returncode == 1 and "speech.bin is damaged" in done.stderr
