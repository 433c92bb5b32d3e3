"""What `make chaos` disturbs: the commands of every stage at a tiny size, and what each has to have made.

An artefact is a name with a hash; one of a table is a row, so that lost rows can be counted.
"""

import csv
import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from tools import fake_ljspeech, tiny_world

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT_EVERY, STEPS = 5, 30
# More than one part of `data.tokenise_timed`, so that a part can be kept.
TIMED_ROWS, PHONEMES = 1200, list("^ɐ kˈæt.$")
TIMED = ("evaluate_s", "train_s", "elapsed_s", "tokens_per_s")
STEP = re.compile(r"^step (\d+)  loss ", re.MULTILINE)

Artefacts = Mapping[str, str]


@dataclass(frozen=True)
class Stage:
    """A command of a world and a folder that it fills, and what it has to have made there in the end."""

    command: Callable[[Path, Path], list[str]]
    artefacts: Callable[[Path], Artefacts]
    share: int  # of the kills
    indivisible: bool = False  # what is damaged is made again as a whole


def make_world(folder: Path) -> None:
    """What the stages read."""
    (folder / "mini").mkdir(parents=True)
    tiny_world.make(folder / "mini")
    fake_ljspeech.make(folder)
    timed = folder / "timed"
    timed.mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        soundfile.write(timed / f"{number}.wav", 0.1 * rng.standard_normal(6400), 16_000)
    names = [f"u{i:04d}" for i in range(TIMED_ROWS)]
    rows = [(name, f"{i % 20}.wav", "train", "a cat.", "v", 0.4) for i, name in enumerate(names)]
    columns = ["utterance", "wav", "split", "text", "voice", "duration_s"]
    pd.DataFrame(rows, columns=columns).to_csv(timed / "manifest.csv", index=False)
    ends = np.arange(1, len(PHONEMES) + 1) * 700
    spoken = pd.DataFrame({"utterance": names})
    spoken["phonemes"], spoken["ends"] = [PHONEMES] * len(names), [ends] * len(names)
    spoken.to_parquet(timed / "phonemes.parquet")


def digest(content: bytes | str) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()


def _files(folder: Path, *patterns: str) -> dict[str, str]:
    found = (path for pattern in patterns for path in folder.rglob(pattern) if path.is_file())
    return {str(path.relative_to(folder)): digest(path.read_bytes()) for path in sorted(found)}


def _rows(path: Path, key: str, leave_out: tuple[str, ...] = ()) -> dict[str, str]:
    """A row of a CSV file by the value of `key`."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [{k: v for k, v in row.items() if k not in leave_out} for row in rows]
    return {
        f"{path.name} {row[key]} {n}": digest(json.dumps(row))
        for n, row in enumerate(sorted(kept, key=json.dumps))
    }


def _corpus(world: Path, folder: Path) -> list[str]:
    where = (f"root={world}/LJSpeech-1.1", f"out={folder}/corpus")
    return ["-m", "data.public_corpora", "kind=ljspeech", *where]


def _tokenise(world: Path, folder: Path) -> list[str]:
    where = (f"corpus={world}/timed", f"codec={world}/mini", f"out={folder}/tokens.parquet")
    return ["-m", "data.tokenise_timed", *where, "workers=1"]


def _tokens(folder: Path) -> Artefacts:
    table = pd.read_parquet(folder / "tokens.parquet")
    columns = (table[name] for name in ("utterance", "tokens", "alignment"))
    return {
        str(utterance): digest(tokens.tobytes() + alignment.tobytes())
        for utterance, tokens, alignment in zip(*columns, strict=True)
    }


def _pack(world: Path, folder: Path) -> list[str]:
    table = f"tokens={world}/mini/tokens.parquet"
    return ["-m", "data.pack", table, f"out={folder}/store", "text=characters", "codes=1000"]


SMALL = ("batch.max_tokens=200", "trainer.precision=32-true", "trainer.log_every=1")


def _train(*more: str) -> Callable[[Path, Path], list[str]]:
    sizes = ("n_layers=2", "d_ff=16", "d_model=16", "n_heads=2", "n_kv_heads=1", "head_dim=8")
    how = ("trainer.val_every=10", f"trainer.checkpoint_every={CHECKPOINT_EVERY}")
    how += (f"steps={STEPS}", "alignment.weight=0", "optimizer.warmup_steps=2")

    def command(world: Path, folder: Path) -> list[str]:
        given = (f"paths.assets={world}/mini", f"run={folder}/run", *how, *SMALL, *more)
        return ["train.py", "experiment=mini_teacher", *given, *(f"lm.sizes.{s}" for s in sizes)]

    return command


def _run(folder: Path) -> Artefacts:
    """Weights, and the curves without what depends on the clock."""
    curves = _rows(folder / "run/metrics.csv", "step", TIMED)
    return curves | _files(folder / "run/teacher", "*.safetensors")


def _grid(world: Path, folder: Path) -> list[str]:
    """A cell that is trained, spoken and scored."""
    mini = f"{world}/mini"
    evaluate = {"testset.meta": f"{mini}/meta.lst", "testset.tokens": f"{mini}/tokens.parquet"}
    evaluate |= {"system.codec": mini, "batch": 2, "cache": f"{folder}/cache", "speaker": "null"}
    cells = ("init=calibrated", "ratio=1to1", "placement=front")
    short = ("steps=6", "trainer.val_every=3", "trainer.checkpoint_every=2", *SMALL)
    return [
        *("train.py", "-m", "experiment=mini_grid", f"run={folder}/grid", f"paths.assets={mini}"),
        *(f"++cell.evaluate.{key}={value}" for key, value in evaluate.items()),
        *("+cell.evaluate.mos=null", "cell.mix=true", *cells, *short),
    ]


def _cells(folder: Path) -> Artefacts:
    """Every cell with what was measured of it; each was done."""
    with (folder / "grid/grid.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("status", "plan", "work", "step", "wer_corpus", "ce", "val_ce", "val_logits")
    cells = {f"{row['ratio']}-{row['placement']}": [row[n] for n in names] for row in rows}
    return {name: digest(json.dumps(values)) for name, values in cells.items()}


def _evaluate(world: Path, folder: Path) -> list[str]:
    """Recordings and their codec: spoken, heard and reported."""
    systems = "models={recordings: recordings, codec: codec}"
    options = ("limit=3", "mos=null", "speaker=null", "threads=1", "testset.tokens=null")
    where = (f"out={folder}/eval", f"cache={folder}/cache", "title=chaos")
    return ["evaluate.py", systems, "baseline=recordings", *options, *where]


def _scored(folder: Path) -> Artefacts:
    from eval.store.evaluations import read_evaluation

    rows = {
        f"{one.name} {row['utterance']}": digest(json.dumps(row, sort_keys=True, default=str))
        for one in read_evaluation(folder / "eval")
        for row in one.rows
    }
    return rows | _files(folder / "eval", "leaderboard.csv", "leaderboard.md")


def _board(world: Path, folder: Path) -> list[str]:
    return ["evaluate.py", "stage=board", f"results={world}/evaluated", f"out={folder}/board"]


STAGES: Mapping[str, Stage] = {
    "corpus": Stage(_corpus, lambda folder: _files(folder / "corpus", "*.wav", "manifest.csv"), 9),
    "tokenise": Stage(_tokenise, _tokens, 7),
    "pack": Stage(_pack, lambda folder: _files(folder / "store", "*"), 8, True),
    "train": Stage(_train(), _run, 7),
    "train2": Stage(_train("trainer.devices=2", "trainer.strategy=ddp"), _run, 3),
    "grid": Stage(_grid, _cells, 3),
    "evaluate": Stage(_evaluate, _scored, 5),
    "board": Stage(_board, lambda folder: _files(folder / "board", "*.html", "*.csv"), 8),
}


def evaluate_for_board(world: Path) -> list[str]:
    """The evaluation that the board is made of."""
    out = (f"out={world}/eval", f"out={world}/evaluated")
    return [word.replace(*out) for word in _evaluate(world, world)]


def repeated_steps(log: str) -> int:
    """Steps of a training that its log says were done more than once."""
    steps = STEP.findall(log)
    return len(steps) - len(set(steps))


# What a reader of a folder raises while it is not whole.
NOT_WHOLE = (OSError, ValueError, KeyError, sqlite3.Error)
