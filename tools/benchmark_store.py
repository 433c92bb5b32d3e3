"""A token store of millions of utterances: what a rank waits for and what it holds in memory.

python -m tools.benchmark_store out=<folder> [rows=10000000] [ranks=512] [arrow=false]

Makes a synthetic store in `out` if there is none (ten million rows have about 5 GB). Called again it opens it,
plans an epoch for `ranks` ranks and reads the first batch of the last of them, with the settings of
cosyvoice2_explore: 40,000 positions, no pairs, half of the sequences bistream. arrow=true also reads rows from
the same tokens as an Arrow file. Memory is without that of the imports; the store is not in the page cache.
"""

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from data.arguments import parse_arguments
from data.batching import TokenBudgetSampler
from data.datamodule import SequenceDataset, collate_named
from data.store import open_store, write_store
from data.tokens import CODE_DTYPE, START_DTYPE, TEXT_DTYPE, Names, Ragged, TokenTable

CODES, VOICES, PIECE, TEXTS = 6561, 5000, 250_000, 151_936
MAX_TOKENS, BISTREAM, READS = 40_000, 0.5, 20_000


class NoTokenizer:
    """The store has no texts to compare it by."""

    def encode(self, text: str) -> list[int]:
        raise NotImplementedError


def synthetic(rows: int) -> Iterator[TokenTable]:
    """Pieces of `rows` utterances in all: 30 to 250 speech tokens, 5 to 60 text tokens."""
    rng = np.random.default_rng(0)
    voices = tuple(f"voice{i}" for i in range(VOICES))
    for first in range(0, rows, PIECE):
        n = min(PIECE, rows - first)
        names = Names.of(f"utterance-{i:08d}" for i in range(first, first + n))
        numbers = rng.integers(0, VOICES, n, np.int32)
        text = _ragged(rng, n, (5, 60), TEXTS, TEXT_DTYPE)
        speech = _ragged(rng, n, (30, 250), CODES, CODE_DTYPE)
        yield TokenTable(names, voices, numbers, text, speech)


def _ragged(rng, n: int, span: tuple[int, int], top: int, dtype: type) -> Ragged:
    starts = np.zeros(n + 1, START_DTYPE)
    np.cumsum(rng.integers(*span, n), out=starts[1:])
    return Ragged(rng.integers(0, top, int(starts[-1]), dtype), starts)


def memory_mb(kind: str) -> float:
    """Memory of this process now: RssAnon is its own, RssFile mapped files, which ranks of a node share."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{kind}:\s+(\d+)", status)[1]) / 1e3  # type: ignore[index]


def forget_cache(folder: Path) -> None:
    """Takes the store out of the page cache: what follows is read from the disk."""
    for path in (*folder.glob("*.bin"), *folder.glob("*.arrow")):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(folder: Path, ranks: int) -> dict[str, float]:
    """Seconds and megabytes, in the order in which a rank comes by them."""
    forget_cache(folder)
    own, files = memory_mb("RssAnon"), memory_mb("RssFile")
    found: dict[str, float] = {"imports_mb": own + files}
    start = time.perf_counter()
    table = open_store(folder).table("train", NoTokenizer(), CODES)
    found["open_s"] = time.perf_counter() - start
    start, cpu = time.perf_counter(), time.process_time()
    options = {"rank": ranks - 1, "world_size": ranks, "bistream_probability": BISTREAM}
    sampler = TokenBudgetSampler(table, MAX_TOKENS, 0.0, 0, **options)
    draws = next(iter(sampler))
    rows = SequenceDataset(table, CODES)
    batch = collate_named([rows[draw] for draw in draws])
    found["first_batch_s"] = time.perf_counter() - start
    found["first_batch_cpu_s"] = time.process_time() - cpu
    found["first_batch_rows"] = len(batch.ids)
    found["own_mb"] = memory_mb("RssAnon") - own
    found["mapped_mb"] = memory_mb("RssFile") - files
    found["peak_mb"] = memory_mb("VmHWM") - own - files
    for name, probability in (("plan", 0.0), ("plan_pairs", 0.85)):
        sampler.pair_probability = probability
        start, cpu = time.perf_counter(), time.process_time()
        sampler.plan(1)
        found[f"{name}_s"] = time.perf_counter() - start
        found[f"{name}_cpu_s"] = time.process_time() - cpu
    found["peak_with_pairs_mb"] = memory_mb("VmHWM") - own - files
    for name in ("rows_per_s", "rows_again_per_s"):  # from the disk, from the page cache
        found[name] = _rate(lambda i: table.speech_ids[i], len(table))
    return found


def _rate(read, rows: int) -> float:
    wanted = np.random.default_rng(1).integers(0, rows, READS).tolist()
    start = time.perf_counter()
    for i in wanted:
        read(i)
    return READS / (time.perf_counter() - start)


def arrow_rate(folder: Path) -> dict[str, float]:
    """Rows a second out of a memory-mapped Arrow file of the same speech tokens (`datasets` reads such)."""
    path = folder / "speech.arrow"
    if not path.exists():
        ids = open_store(folder).table("train", NoTokenizer(), CODES).speech_ids
        schema = pa.schema([("tokens", pa.list_(pa.int16()))])
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for first in range(0, len(ids), PIECE):
                part = ids[first : first + PIECE]
                starts = pa.array((part.starts - part.starts[0]).astype(np.int32))
                column = pa.ListArray.from_arrays(starts, pa.array(np.asarray(part.flat())))
                writer.write_batch(pa.record_batch([column], schema=schema))
    forget_cache(folder)
    start = time.perf_counter()
    with pa.memory_map(str(path)) as source:
        column = pa.ipc.open_file(source).read_all()["tokens"]
        opened = time.perf_counter() - start

        def read(i: int) -> torch.Tensor:
            return torch.from_numpy(column[i].values.to_numpy().astype(np.int64))

        rates = [_rate(read, len(column)) for _ in range(2)]
    return {
        "arrow_open_s": opened,
        "arrow_rows_per_s": rates[0],
        "arrow_rows_again_per_s": rates[1],
    }


def main() -> None:
    optional = ("rows", "ranks", "arrow")
    given = {"rows": "10000000", "ranks": "512", "arrow": "false"}
    given |= parse_arguments(__doc__, required=("out",), optional=optional)
    folder = Path(given["out"])
    if not folder.exists():
        start = time.perf_counter()
        write_store(folder, {"train": synthetic(int(given["rows"]))}, CODES, [])
        print(f"written in {time.perf_counter() - start:.0f} s: measure in a process of its own")
        sys.exit(f"run the same command again to measure {folder}")
    found = measure(folder, int(given["ranks"]))
    if given["arrow"] == "true":
        found |= arrow_rate(folder)
    for name, value in found.items():
        print(f"{name} {value:.4g}", flush=True)


if __name__ == "__main__":
    main()
