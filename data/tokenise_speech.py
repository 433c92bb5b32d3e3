"""LibriTTS -> CosyVoice 2's speech tokens, in the form that students train on.

python -m data.tokenise_speech root=<LibriTTS> model=<CosyVoice2-0.5B> out=<folder>
    [subsets=train-clean-100,dev-clean] [device=cuda:0] [shard=0/1] [batch_seconds=240] [readers=4]
    [onnx=false]

One process per GPU, each with its own `shard=i/n`; `readers` threads read and resample what comes next while
the network is busy. Parts are written as the work goes and never redone; whoever finds every utterance
accounted for writes <out>/tokens.parquet and <out>/report.json (counts, hours, what was dropped and why).
onnx=true runs upstream's own ONNX file, one recording at a time on the CPU: slow and exact.
"""

import json
import re
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import soundfile
import soxr
import torch
from rich.progress import track

from data.arguments import parse_arguments
from data.libritts import Utterance, scan
from data.whole_files import read_table, whole, write_table
from mamtra.speech.s3 import MAX_SECONDS, SAMPLE_RATE_HZ, load_s3, load_s3_onnx

MIN_SECONDS = (
    1.0  # upstream's filter: 1-60 s, of which its tokenizer takes 30 (dataset/processor.py:87)
)
CLIPPED_SHARE = 0.001  # of samples at full scale: kept, but counted
BATCHES_PER_PART = 20
AHEAD = 2  # batches in memory besides the one that is encoded
COLUMNS = ["utterance", "split", "text", "voice", "tokens"]
ROW_COLUMNS = (*COLUMNS, "subset", "seconds", "note")
DEFAULTS = {
    "subsets": "train-clean-100,train-clean-360,train-other-500,dev-clean,test-clean",
    "device": "cpu",
    "shard": "0/1",
    "batch_seconds": "240",
    "readers": "4",
    "onnx": "false",
}


class SpeechTokenizer(Protocol):
    """What this needs of `mamtra.speech.s3.S3Tokenizer`."""

    def encode(self, waves: Sequence[torch.Tensor]) -> list[torch.Tensor]: ...


@dataclass(frozen=True)
class Audio:
    """A readable recording's length and rate, or the reason why it is dropped."""

    seconds: float
    reason: str | None = None


# An utterance, what can be seen of its file, its waveform and a note, as `read` gives them.
Heard = tuple[Utterance, Audio, torch.Tensor | None, str | None]


def look_at(utterance: Utterance) -> Audio:
    """Everything that can be seen without decoding the samples."""
    if utterance.text is None:
        return Audio(0.0, "no text")
    try:
        info = soundfile.info(str(utterance.wav))
    except (OSError, soundfile.SoundFileError):
        return Audio(0.0, "unreadable")
    seconds = info.frames / info.samplerate
    if info.samplerate < SAMPLE_RATE_HZ:
        return Audio(seconds, f"sample rate below {SAMPLE_RATE_HZ} Hz")
    if seconds < MIN_SECONDS:
        return Audio(seconds, f"shorter than {MIN_SECONDS:.0f} s")
    if seconds > MAX_SECONDS:
        return Audio(seconds, f"longer than {MAX_SECONDS:.0f} s")
    return Audio(seconds)


def read(path: Path) -> tuple[torch.Tensor | None, str | None]:
    """(n,) float32 at 16 kHz and None, or a note: "clipped" with a waveform, a reason to drop without."""
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError):
        return None, "unreadable"
    if not np.isfinite(samples).all():
        return None, "NaN or infinite samples"
    peak = float(np.abs(samples).max(initial=0.0))
    if peak < 1e-4:
        return None, "silent"
    clipped = float((np.abs(samples) >= 0.999).mean()) > CLIPPED_SHARE
    wave = samples.mean(axis=1)
    if rate_hz != SAMPLE_RATE_HZ:
        wave = soxr.resample(wave, rate_hz, SAMPLE_RATE_HZ)
    return torch.from_numpy(np.ascontiguousarray(wave, np.float32)), "clipped" if clipped else None


def batches(seconds: Sequence[float], batch_seconds: float) -> Iterator[list[int]]:
    """Indices of similar length together, longest first, with rows x longest <= batch_seconds."""
    batch: list[int] = []
    for index in sorted(range(len(seconds)), key=lambda i: (-seconds[i], i)):
        if batch and (len(batch) + 1) * seconds[batch[0]] > batch_seconds:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def tokenise(
    utterances: Sequence[Utterance],
    tokenizer: SpeechTokenizer,
    out: Path,
    shard: tuple[int, int] = (0, 1),
    batch_seconds: float = 240.0,
    readers: int = 4,
) -> None:
    """Tokenise this shard's utterances that no part accounts for yet."""
    index, n_shards = shard
    known = set(read_parts(out, ["utterance"])["utterance"])
    mine = [u for u in utterances[index::n_shards] if u.name not in known]
    seen = [look_at(u) for u in mine]
    rows = [_row(u, a, None, a.reason) for u, a in zip(mine, seen, strict=True) if a.reason]
    kept = [(u, a) for u, a in zip(mine, seen, strict=True) if not a.reason]
    todo = list(batches([audio.seconds for _, audio in kept], batch_seconds))
    with ThreadPoolExecutor(readers) as pool:
        waiting = read_ahead(pool, ([kept[i] for i in batch] for batch in todo))
        bar = track(waiting, f"tokenising {len(kept)} recordings", total=len(todo))
        for number, batch in enumerate(bar, start=1):
            rows += _encode(batch, tokenizer)
            if number % BATCHES_PER_PART == 0:
                _write_part(out, rows)
                rows = []
    _write_part(out, rows)


def read_ahead(
    pool: Executor, batches: Iterable[Sequence[tuple[Utterance, Audio]]]
) -> Iterator[list[Heard]]:
    """The recordings of each batch, while those of the next `AHEAD` batches are being read."""
    waiting: deque[list[tuple[Utterance, Audio, Future]]] = deque()

    def first() -> list[Heard]:
        return [(u, a, *future.result()) for u, a, future in waiting.popleft()]

    for batch in batches:
        waiting.append([(u, a, pool.submit(read, u.wav)) for u, a in batch])
        if len(waiting) > AHEAD:
            yield first()
    while waiting:
        yield first()


def _encode(read_all: Sequence[Heard], tokenizer: SpeechTokenizer) -> list[dict]:
    """Rows of one batch; what turns out to be unusable is a row with its reason."""
    rows = [_row(u, a, None, note) for u, a, wave, note in read_all if wave is None]
    good = [(u, a, wave, note) for u, a, wave, note in read_all if wave is not None]
    codes = tokenizer.encode([wave for _, _, wave, _ in good]) if good else []
    return rows + [
        _row(u, a, tokens, note) for (u, a, _, note), tokens in zip(good, codes, strict=True)
    ]


def _row(
    u: Utterance, audio: Audio, tokens: torch.Tensor | None, note: str | None
) -> dict[str, Any]:
    return {
        "utterance": u.name,
        "split": u.split,
        "text": u.text,
        "voice": u.voice,
        "tokens": None if tokens is None else tokens.numpy().astype("int16"),
        "subset": u.subset,
        "seconds": audio.seconds,
        "note": note,
    }


def _write_part(out: Path, rows: list[dict]) -> None:
    """One more part, whole or not at all; its name is that of its first utterance."""
    if not rows:
        return
    folder = out / "parts"
    write_table(folder / f"{rows[0]['utterance']}.parquet", pd.DataFrame(rows))


def read_parts(out: Path, columns: Sequence[str] = ROW_COLUMNS) -> pd.DataFrame:
    """These columns of the rows of all parts."""
    paths = sorted((out / "parts").glob("*.parquet"))
    frames = [read_table(path, columns) for path in paths]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(columns))


def finish(utterances: Iterable[Utterance], out: Path) -> dict[str, Any] | None:
    """Write the table and the report, or None while utterances are left to other shards.

    Rows are in the order of `utterances`; dropped ones are in the report only.
    """
    rows = read_parts(out).drop_duplicates("utterance").set_index("utterance", drop=False)
    order = [u.name for u in utterances]
    left = len(set(order) - set(rows.index))
    if left:
        print(f"{left} of {len(order)} utterances are left to other shards")
        return None
    rows = rows.loc[order]
    table = rows[rows["tokens"].notna()]
    report: dict[str, Any] = {"utterances": len(rows), "kept": len(table)}
    report["hours"] = round(float(table["seconds"].sum()) / 3600, 3)
    report["tokens"] = int(table["tokens"].map(len).sum())
    dropped = rows[rows["tokens"].isna()]
    report["dropped"] = dict(sorted(Counter(dropped["note"]).items()))
    report["clipped_but_kept"] = int((table["note"] == "clipped").sum())
    report["subsets"] = {
        str(name): {
            "kept": int(part["tokens"].notna().sum()),
            "hours": round(float(part[part["tokens"].notna()]["seconds"].sum()) / 3600, 3),
            "dropped": dict(sorted(Counter(part[part["tokens"].isna()]["note"]).items())),
        }
        for name, part in rows.groupby("subset", sort=False)
    }
    report["dropped_utterances"] = dict(zip(dropped["utterance"], dropped["note"], strict=True))
    for name, write in (
        ("tokens.parquet", lambda p: table[COLUMNS].to_parquet(p, index=False, compression="zstd")),
        ("report.json", lambda p: p.write_text(json.dumps(report, indent=1) + "\n")),
    ):
        with whole(out / name) as partial:  # shards that end together write the same rows
            write(partial)
    print(f"{len(table)} rows, {report['hours']} hours -> {out / 'tokens.parquet'}")
    print(f"{len(dropped)} dropped: {report['dropped']} -> {out / 'report.json'}")
    return report


def parse_shard(text: str) -> tuple[int, int]:
    """ "2/8" -> (2, 8). ValueError for anything but 0 <= i < n."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not int(match[1]) < int(match[2]):
        raise ValueError(f"shard is i/n with 0 <= i < n, not {text!r}")
    return int(match[1]), int(match[2])


def truth(text: str) -> bool:
    """ "true" or "false" as a bool; ValueError for anything else."""
    if text not in ("true", "false"):
        raise ValueError(f"onnx is true or false, not {text!r}")
    return text == "true"


def main() -> None:
    """The command line in this file's docstring; errors are one line."""
    required, optional = ("root", "model", "out"), tuple(DEFAULTS)
    given = DEFAULTS | parse_arguments(__doc__, required=required, optional=optional)
    where = Path(given["out"])
    try:
        shard = parse_shard(given["shard"])
        wanted = scan(Path(given["root"]), given["subsets"].split(","))
        model = Path(given["model"])
        s3 = load_s3_onnx(model) if truth(given["onnx"]) else load_s3(model, given["device"])
    except (FileNotFoundError, ModuleNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
    way = "onnx" if truth(given["onnx"]) else "torch"
    mark = where / "parts" / "way.txt"
    known = mark.read_text().strip() if mark.is_file() else way
    if known != way:
        sys.exit(f"error: {where} holds tokens made with {known}, not {way}: choose another out=")
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(way + "\n")
    how = {"batch_seconds": float(given["batch_seconds"]), "readers": int(given["readers"])}
    tokenise(wanted, s3, where, shard, **how)
    finish(wanted, where)


if __name__ == "__main__":
    main()
