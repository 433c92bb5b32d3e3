"""Free texts -> speech tokens that a teacher says, as a token table to distil on (data=teacher_generated).

    python -m data.teacher_generated teacher=<folder> tokens=<tokens.parquet> codec=<folder> out=<table.parquet>
        [texts=corpus] [rows=20000] [seed=0] [batch=16] [workers=2] [device=cpu]

`texts` is corpus, grammar, wordnet or a file (`data.free_texts`); more `rows` than texts read them again with
other prompts. The prompt of a row is a training recording of `tokens`, whose voice is the row's; its randomness
comes from its name. `codec` says how the teacher reads and draws. `data.generated_rule` says what is fit to
train on; the rest is counted in <out>.json. There is no column `alignment`: guided attention needs recordings.

Rows are made SHARD at a time and kept beside `out`: stopped and started again, or asked for more rows, it goes
on and the same bytes come out.
"""

import hashlib
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.progress import track

from data.arguments import parse_arguments
from data.free_texts import SOURCES, free_texts
from data.generated_rule import OK, REASONS, Rule, measure
from data.tokens import COLUMNS, read_token_table
from data.whole_files import alone_in, read_note, read_table, whole, write_table
from data.workers import worker_processes
from mamtra.lm.checkpoint import model_sha256
from mamtra.lm.generate import generate_batch
from mamtra.lm.speech_lm import SpeechLM
from mamtra.systems import TextFrontend, sampling_of, system_of
from mamtra.transfer.teacher import load_teacher

SHARD = 160  # rows
PLANNED = ["utterance", "text", "voice", "prompt"]


@dataclass(frozen=True)
class Row:
    """One utterance to be said. `prompt` names the recording that it continues."""

    utterance: str
    text: str
    voice: str
    prompt: str
    prompt_text: str
    prompt_tokens: np.ndarray  # (T,)


@dataclass(frozen=True)
class Speaking:
    """What the tokens of a row depend on besides the row."""

    teacher: Path
    codec: Path
    seed: int
    batch: int
    device: str


_teacher: SpeechLM
_reader: TextFrontend
_speaking: Speaking


def _start(speaking: Speaking) -> None:
    global _teacher, _reader, _speaking
    torch.set_num_threads(1)
    _speaking = speaking
    _teacher = load_teacher(speaking.teacher).to(speaking.device)
    _reader = system_of(speaking.codec).load_text(speaking.codec)


def plan(texts: Sequence[str], recordings: pd.DataFrame, rows: int, seed: int) -> list[Row]:
    """Which text is said after which recording, each row a pure function of the seed and its number."""
    by_voice = {str(voice): list(own.index) for voice, own in recordings.groupby("voice")}
    voices, made = sorted(by_voice), []
    for number in range(rows):
        rng = random.Random(f"{seed}-{number}")
        voice = rng.choice(voices)
        prompt = recordings.loc[rng.choice(by_voice[voice])]
        name, spoken = f"generated-{number:07d}", np.asarray(prompt["tokens"])
        text = texts[number % len(texts)]
        made.append(Row(name, text, voice, prompt["utterance"], prompt["text"], spoken))
    return made


def row_seed(utterance: str, seed: int) -> int:
    """Seed of a row's own generator."""
    digest = hashlib.sha256(f"{seed}-{utterance}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _shard(rows: Sequence[Row], part: Path) -> None:
    ids = [_reader.encode(row.text) for row in rows]
    seeds = [row_seed(row.utterance, _speaking.seed) for row in rows]
    results = generate_batch(
        _teacher,
        [[*_reader.encode(row.prompt_text), *own] for row, own in zip(rows, ids, strict=True)],
        [torch.from_numpy(row.prompt_tokens.astype("int64")) for row in rows],
        [torch.Generator().manual_seed(seed) for seed in seeds],
        target_lengths=[len(own) for own in ids],
        rows=_speaking.batch,
        **sampling_of(_reader),  # type: ignore[arg-type]  # numbers
    )
    said = [
        {
            **{name: getattr(row, name) for name in PLANNED},
            "text_length": len(own),
            "tokens": np.asarray(result.tokens, dtype="int16"),
            "hit_max": result.hit_max,
            "failed": result.failed,
        }
        for row, own, result in zip(rows, ids, results, strict=True)
    ]
    write_table(part, pd.DataFrame(said))


def speak(
    teacher: Path,
    tokens: Path,
    codec: Path,
    out: Path,
    texts: str = "corpus",
    rows: int | None = None,
    seed: int = 0,
    batch: int = 16,
    workers: int = 2,
    device: str = "cpu",
) -> dict[str, Any]:
    """Writes the table `out` and the report beside it, which is returned.

    Raises FileNotFoundError and ValueError for what is missing or does not fit together, as `read_token_table`,
    `free_texts`, `system_of`, `load_teacher`; ValueError for parts that were made of something else.
    """
    for name, value in (("rows", rows), ("batch", batch), ("workers", workers)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    system = system_of(codec)
    reader, model = system.load_text(codec), load_teacher(teacher)
    if model.text_vocab != reader.vocab_size:
        raise ValueError(
            f"the teacher {teacher} reads {model.text_vocab} text tokens and the frontend of {codec} makes "
            f"{reader.vocab_size}: they are of different systems"
        )
    read = read_token_table(tokens, "train", reader, model.speech_vocab)
    table = pd.read_parquet(tokens, columns=list(COLUMNS))
    recordings = pd.DataFrame(table[table["split"] == "train"]).reset_index(drop=True)
    free = free_texts(texts, table, reader, rows, seed)
    planned = plan(free.texts, recordings, rows or len(free.texts), seed)
    made_of = {
        "teacher_sha256": model_sha256(teacher),
        "tokens_sha256": _sha256(tokens),
        "texts": texts if texts in SOURCES else _sha256(Path(texts)),
        "sampling": sampling_of(reader),
        "seed": seed,
        "batch": batch,
        "device": device.partition(":")[0],
    }
    with alone_in(out.with_suffix(".parts")):
        parts = _parts(out, made_of)
        _make(planned, parts, Speaking(teacher, codec, seed, batch, device), workers)
    rule = measure([len(ids) for ids in read.text_ids], list(recordings["tokens"]))
    counted = {
        "texts": len(free.texts),
        "texts_unreadable": free.unreadable,
        "texts_held_out": free.held_out,
        "rule": asdict(rule),
        "made_of": made_of,
    }
    said = [read_table(path) for path, _ in _shards(planned, parts)]
    return _finish(pd.concat(said), rule, out, counted)


def _finish(said: pd.DataFrame, rule: Rule, out: Path, counted: dict[str, Any]) -> dict[str, Any]:
    """Writes the rows that are fit to train on, and the report: how many, and how many not, and why."""
    judged = (said[name] for name in ("text_length", "tokens", "hit_max", "failed"))
    verdicts = [rule(*row) for row in zip(*judged, strict=True)]
    kept = pd.DataFrame(said[[verdict == OK for verdict in verdicts]]).assign(split="train")
    if not len(kept):
        raise ValueError(f"no utterance is fit to train on: {dict(Counter(verdicts))}")
    left_out = {reason: verdicts.count(reason) for reason in REASONS}
    report = {
        "rows": len(said),
        "kept": len(kept),
        "tokens": sum(map(len, kept["tokens"])),
        "left_out": left_out,
        **counted,
    }
    write_table(out, pd.DataFrame(kept[list(COLUMNS)]))
    path = out.with_suffix(".json")
    with whole(path) as partial:
        partial.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{report['kept']} rows, {report['tokens']} tokens -> {out}")
    why = ", ".join(f"{reason} {n}" for reason, n in left_out.items() if n) or "none"
    print(f"{report['rows'] - report['kept']} left out ({why}) -> {path}")
    return report


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _parts(out: Path, made_of: dict[str, Any]) -> Path:
    """Where the parts of `out` lie; those made of something else are in the way and refused."""
    folder = out.with_suffix(".parts")
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "made_of.json"
    known = read_note(note) or made_of
    changed = [name for name in made_of if known.get(name) != made_of[name]]
    if changed:
        raise ValueError(
            f"{folder} was made with other {', '.join(changed)} ({note.name}): delete it"
        )
    with whole(note) as partial:
        partial.write_text(json.dumps(made_of, indent=1) + "\n")
    return folder


def _shards(planned: Sequence[Row], parts: Path) -> list[tuple[Path, Sequence[Row]]]:
    starts = range(0, len(planned), SHARD)
    return [(parts / f"{i // SHARD:05d}.parquet", planned[i : i + SHARD]) for i in starts]


def _make(planned: Sequence[Row], parts: Path, speaking: Speaking, workers: int) -> None:
    """Speaks the shards that are missing or were the shorter end of an earlier plan."""
    todo = []
    for path, rows in _shards(planned, parts):
        wanted = [tuple(getattr(row, name) for name in PLANNED) for row in rows]
        found = []
        if path.exists():
            found = list(read_table(path, PLANNED).itertuples(index=False, name=None))
        if found[: len(wanted)] != wanted[: len(found)]:
            raise ValueError(f"{path} was made by another plan: delete {parts}")
        if len(found) != len(wanted):
            todo.append((rows, path))
    if not todo:
        return
    with worker_processes(workers, _start, speaking) as pool:
        jobs = [pool.submit(_shard, rows, path) for rows, path in todo]
        label = f"speaking {sum(len(rows) for rows, _ in todo)} texts"
        for job in track(as_completed(jobs), label, len(jobs)):
            job.result()


def main() -> None:
    """The command line in this file's docstring; errors are one line."""
    numbers = ("rows", "seed", "batch", "workers")
    given: dict[str, Any] = parse_arguments(
        __doc__,
        required=("teacher", "tokens", "codec", "out"),
        optional=("texts", *numbers, "device"),
    )
    try:
        for name in numbers:
            if name in given:
                given[name] = int(given[name])
        places = {name: Path(given.pop(name)) for name in ("teacher", "tokens", "codec", "out")}
        speak(**places, **given)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nstopped; run the same command again to continue")


if __name__ == "__main__":
    main()
