"""Files that are not what they were or ought to be: each is named, with what is wrong with it; none is read."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch

from data.pack import pack
from data.parquet import read_parquet
from data.public_corpora import build
from data.store import check_store, open_store
from data.whole_files import read_table, write_table
from eval.testset import read_meta
from lightning_modules.run_folder import RunFolder
from mamtra.lm.checkpoint import CheckpointError, load_lm
from mamtra.speech import load_codec
from mamtra.text.characters import CharacterTokenizer
from mamtra.transfer.cosyvoice2 import read_llm_pt
from mamtra.transfer.scores import load_scores
from tools import tiny_world

Change = Callable[[bytes], bytes]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :]


def flip_early(content: bytes) -> bytes:
    """In the first page: the middle of a small table may be statistics, which nobody reads."""
    at = content.index(b"u0") if b"u0" in content else 60
    return content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :]


def nothing(content: bytes) -> bytes:
    return b""


def text(*lines: str) -> Change:
    return lambda content: "\n".join([*lines, ""]).encode()


POINTER = text("version https://git-lfs.github.com/spec/v1", "oid sha256:0", "size 12")


def changed(name: str, value: object) -> Change:
    """JSON with another value."""
    return lambda content: json.dumps(json.loads(content) | {name: value}).encode()


def rows(**columns: list) -> Change:
    """The table of tokens with other columns; None: without one."""

    def change(content: bytes) -> bytes:
        path = Path("changed.parquet")
        given = {"utterance": ["a", "b"], "split": ["train"] * 2, "text": ["one", "two"]}
        given |= {"voice": ["v"] * 2, "tokens": [[1, 2], [3]], **columns}
        pd.DataFrame({k: v for k, v in given.items() if v is not None}).to_parquet(path)
        return path.read_bytes()

    return change


@dataclass(frozen=True)
class Kind:
    """A file of the world, what happens to it, who reads it, and what has to be said."""

    file: str
    change: Change
    read: str
    cause: str


TOKENS, STORE, MODEL = "tokens.parquet", "store", "teacher/model"
KINDS = {
    "table cut": Kind(TOKENS, cut, "table", "not a readable parquet"),
    "table with a flipped bit": Kind(TOKENS, flip_early, "table", "not a readable parquet"),
    "table empty": Kind(TOKENS, nothing, "table", "not a readable parquet"),
    "table that is text": Kind(TOKENS, text("a,b"), "table", "not a readable parquet"),
    "column missing": Kind(TOKENS, rows(voice=None), "table", r"lacks the column\(s\) voice"),
    "utterance twice": Kind(TOKENS, rows(utterance=["a"] * 2), "table", "'a' appears twice"),
    "no tokens": Kind(TOKENS, rows(tokens=[[1], []]), "table", "'b'.*no speech tokens"),
    "code too large": Kind(TOKENS, rows(tokens=[[1], [1000]]), "table", r"'b'.*outside 0\.\.999"),
    "text not readable": Kind(TOKENS, rows(text=["one", "2"]), "table", "'b'.*'2'"),
    "store with a flipped bit": Kind(f"{STORE}/speech.bin", flip, "store", "is damaged"),
    "store cut": Kind(f"{STORE}/names.bin", cut, "store", r"has \d+ bytes, store\.json says"),
    "store without its sizes": Kind(f"{STORE}/store.json", cut, "store", "is damaged"),
    "store of another form": Kind(f"{STORE}/store.json", changed("format", 9), "store", "format 9"),
    "weights with a flipped bit": Kind(f"{MODEL}.safetensors", flip, "model", ""),
    "weights cut": Kind(f"{MODEL}.safetensors", cut, "model", ""),
    "weights that are a pointer": Kind(f"{MODEL}.safetensors", POINTER, "model", ""),
    "model described by half": Kind(f"{MODEL}.json", cut, "model", ""),
    "plan of other layers": Kind(f"{MODEL}.json", changed("plan", "xxxx"), "model", ""),
    "codec cut": Kind("codec.safetensors", cut, "codec", ""),
    "codec described by half": Kind("codec.json", cut, "codec", ""),
    "upstream's weights that are a pointer": Kind("llm.pt", POINTER, "upstream", "git lfs pull"),
    "checkpoint cut": Kind("run/checkpoints/last.ckpt", cut, "run", "is not a checkpoint"),
    "checkpoint with a flipped bit": Kind("run/checkpoints/last.ckpt", flip, "run", "damaged"),
    "run described by half": Kind("run/config.json", cut, "description", "no readable config"),
    "scores that are text": Kind("kl.json", text("{"), "scores", "not a file of importance"),
    "list with a field": Kind("meta.lst", text("a"), "list", ":1: malformed line"),
    "list in another encoding": Kind("meta.lst", lambda c: c + b"\xff", "list", "not a UTF-8"),
    "list that leaves its folder": Kind("meta.lst", text("../a|b"), "list", "contains a path"),
    "prompt cut": Kind("t0.wav", nothing, "list", "not readable"),
    "part of a table cut": Kind("part.parquet", cut, "part", "is damaged"),
    "part of a table flipped": Kind("part.parquet", flip, "part", "is damaged"),
    "corpus' list with a field": Kind("LJ/metadata.csv", text("a"), "corpus", ":1: 1 fields"),
    "recording that is none": Kind("LJ/wavs/a.wav", text("x"), "corpus", "cannot be read"),
}


@pytest.fixture
def world(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny_world.make(tmp_path)
    write_table(tmp_path / TOKENS, pd.read_parquet(tmp_path / TOKENS))
    write_table(tmp_path / "part.parquet", pd.DataFrame({"n": range(3000)}))
    pack(tmp_path / TOKENS, tmp_path / STORE, CharacterTokenizer(), tiny_world.CODES)
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    state = {"state_dict": {"w": torch.zeros(5000)}, "loops": {}, "optimizer_states": []}
    torch.save({**state, "global_step": 3}, tmp_path / "run/checkpoints/last.ckpt")
    (tmp_path / "run/config.json").write_text(json.dumps({"settings": {}, "input_sha256": {}}))
    (tmp_path / "LJ/wavs").mkdir(parents=True)
    (tmp_path / "LJ/wavs/a.wav").write_bytes((tmp_path / "t0.wav").read_bytes())
    (tmp_path / "LJ/metadata.csv").write_text("a|x|go on\n")
    for name in ("kl.json", "llm.pt"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def reader(world: Path, name: str) -> Callable[[], object]:
    codes, tokenizer = tiny_world.CODES, CharacterTokenizer()
    run = RunFolder(world / "run", "teacher")
    readers: dict[str, Callable[[], object]] = {
        "table": lambda: read_parquet(world / TOKENS, "train", tokenizer, codes),
        "store": lambda: (open_store(world / STORE), check_store(world / STORE)),
        "model": lambda: load_lm(world / "teacher"),
        "codec": lambda: load_codec(world),
        "upstream": lambda: read_llm_pt(world / "llm.pt"),
        "run": run.resume_path,
        "description": run.read,
        "scores": lambda: load_scores(world / "kl.json", "kl", world / "teacher"),
        "list": lambda: read_meta(world / "meta.lst"),
        "part": lambda: read_table(world / "part.parquet"),
        "corpus": lambda: build("ljspeech", world / "LJ", world / "out"),
    }
    return readers[name]


WHOLE = sorted({kind.read for kind in KINDS.values()} - {"upstream", "scores"})


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_whole_is_read(world, name):
    reader(world, name)()


@pytest.mark.parametrize("name", KINDS)
def test_what_is_damaged_is_named_with_its_cause(world, name):
    kind = KINDS[name]
    path = world / kind.file
    path.write_bytes(kind.change(path.read_bytes()))
    with pytest.raises((ValueError, OSError, CheckpointError), match=kind.cause) as error:
        reader(world, kind.read)()
    assert path.name in str(error.value) or path.parent.name in str(error.value)


def test_there_are_as_many_kinds_as_docs_scale_says():
    assert len(KINDS) == 33
