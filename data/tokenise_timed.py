"""Recordings with phoneme times -> speech tokens with exact alignments: what teachers and students train on.

    python -m data.tokenise_timed corpus=<folder> codec=<folder> out=<tokens.parquet> [text=phonemes]
        [workers=2]

The column `alignment` names, for each 40-ms speech token, the token of the text that it speaks: a phoneme or,
with text=letters, a character. Of a corpus made by `python -m data.corpus.open_build`; one without phoneme
times needs `python -m data.tokenise`. What is done is kept beside `out` and reused when the corpus has grown.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile as sf
import torch
from rich.progress import track

from data.arguments import clear_errors, parse_arguments
from data.corpus.phoneme_times import merge
from data.phone_alignment import letter_alignment, phoneme_alignment
from data.tokenise import COLUMNS
from data.whole_files import alone_in, read_note, read_table, whole, write_table
from data.workers import worker_processes
from mamtra.speech import load_codec
from mamtra.speech.mini_codec import SIZES, WEIGHTS, MiniCodec

ALIGNMENTS: dict[str, Callable[..., np.ndarray]] = {
    "phonemes": phoneme_alignment,
    "letters": letter_alignment,
}
SHARD = 500

_codec: MiniCodec


def _start(codec_folder: Path) -> None:
    global _codec
    torch.set_num_threads(1)
    _codec = load_codec(codec_folder)


def _tokens(row: Any, corpus: Path, text: str) -> tuple[np.ndarray, np.ndarray]:
    wave, _ = sf.read(corpus / row.wav, dtype="float32")
    ids = _codec.encode(torch.from_numpy(wave)).numpy()
    try:
        spoken = ALIGNMENTS[text](row.text, *merge(row.phonemes, row.ends), len(ids))
    except ValueError as error:
        raise ValueError(f"{row.utterance}: {error}") from error
    return ids.astype("int16"), spoken.astype("int16")


def _shard(table: pd.DataFrame, corpus: Path, text: str, out: Path) -> None:
    rows = [_tokens(row, corpus, text) for row in table.itertuples()]
    table["tokens"], table["alignment"] = zip(*rows, strict=True)
    write_table(out, pd.DataFrame(table[COLUMNS]))


def tokenise(
    corpus: Path, codec_folder: Path, out: Path, text: str = "phonemes", workers: int = 2
) -> pd.DataFrame:
    """One row per recording of the manifest, in its order, with the columns of `data.tokenise`.

    Raises ValueError for an unknown `text` or, naming the recording, for phonemes that are not known;
    FileNotFoundError naming a missing manifest, phoneme table or codec.
    """
    if text not in ALIGNMENTS:
        raise ValueError(f"text must be one of {', '.join(ALIGNMENTS)}, not {text!r}")
    load_codec(codec_folder)  # a missing file must stop this process, not a worker
    for name in ("manifest.csv", "phonemes.parquet"):
        if not (corpus / name).is_file():
            raise FileNotFoundError(
                f"{corpus / name} is missing: run `python -m data.corpus.open_build out={corpus}`"
            )
    table = pd.read_csv(corpus / "manifest.csv")
    table = table.merge(pd.read_parquet(corpus / "phonemes.parquet"), on="utterance", how="left")
    parts = out.with_suffix(".parts")
    with alone_in(parts):
        return _tokenise(table, corpus, codec_folder, out, text, workers)


def _tokenise(
    table: pd.DataFrame, corpus: Path, codec_folder: Path, out: Path, text: str, workers: int
) -> pd.DataFrame:
    parts = _parts_folder(out, codec_folder, text)
    jobs = _missing(table, parts)
    if jobs:
        with worker_processes(workers, _start, codec_folder) as pool:
            running = [pool.submit(_shard, rows, corpus, text, part) for rows, part in jobs]
            for job in track(running, f"tokenising {sum(len(r) for r, _ in jobs)}", len(running)):
                job.result()
    columns = ["utterance", "tokens", "alignment"]
    done = pd.concat([read_table(p, columns) for p in sorted(parts.glob("*.parquet"))])
    # The rest is the manifest's: a grown corpus may have given a recording to another split.
    merged = table.merge(done, on="utterance", how="left", validate="one_to_one")
    made = pd.DataFrame(merged[COLUMNS])
    write_table(out, made)
    n_tokens = sum(map(len, made["tokens"]))
    print(f"{len(made)} rows, {n_tokens} tokens -> {out}")
    return made


def _parts_folder(out: Path, codec_folder: Path, text: str) -> Path:
    """Where the parts of `out` lie; an earlier codec's or text's are in the way and refused."""
    folder = out.with_suffix(".parts")
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: (codec_folder / name).stat() for name in (WEIGHTS, SIZES)}
    made_of = {"text": text} | {n: [s.st_size, s.st_mtime_ns] for n, s in files.items()}
    note = folder / "made_of.json"
    if read_note(note) not in (None, made_of):
        raise ValueError(f"{folder} was made with another codec or text ({note.name}): delete it")
    with whole(note) as partial:
        partial.write_text(json.dumps(made_of))
    return folder


def _missing(table: pd.DataFrame, parts: Path) -> list[tuple[pd.DataFrame, Path]]:
    """Recordings without tokens, SHARD at a time, and the file that each group will make."""
    files = sorted(parts.glob("*.parquet"))
    done = {u for part in files for u in read_table(part, ["utterance"])["utterance"]}
    todo = pd.DataFrame(table[~table["utterance"].isin(list(done))]).reset_index(drop=True)
    first = 1 + max((int(part.stem) for part in files), default=-1)
    return [
        (todo.iloc[i : i + SHARD].copy(), parts / f"{first + k:05d}.parquet")
        for k, i in enumerate(range(0, len(todo), SHARD))
    ]


if __name__ == "__main__":
    options = parse_arguments(
        __doc__, required=("corpus", "codec", "out"), optional=("text", "workers")
    )
    with clear_errors():
        tokenise(
            Path(options["corpus"]),
            Path(options["codec"]),
            Path(options["out"]),
            options.get("text", "phonemes"),
            int(options.get("workers", 2)),
        )
