"""A token store: the tokenised corpus as flat arrays that every process maps instead of reading.

A folder with store.json and, for N utterances, L text and T speech tokens, little-endian without headers:

| file | type | what |
|---|---|---|
| speech.bin, speech_starts.bin | int16 (T,), int64 (N+1,) | speech tokens; row i from `starts[i]` on |
| text.bin, text_starts.bin | int32 (L,), int64 (N+1,) | text ids, as the tokenizer of the store made them |
| names.bin, name_starts.bin | uint8, int64 (N+1,) | utterances in UTF-8 |
| voices.bin | int32 (N,) | index into `voices` of store.json |
| lengths.bin | int32 (N,) | positions of the utterance's own sequence: 2 + its text + its speech |
| alignment.bin | int16 (T,), where the corpus has it | index of the text token that each speech token speaks |

store.json: `format`, `rows`, `codes` (size of the codebook), `voices`, `splits` (name: first and one past the
last row, the rows of a split are together), `probe` (texts and their ids, by which a wrong tokenizer is seen),
`source` (sha256 of the table that it was made of),
`bytes` and `sha256` of each file. It is written last and marks the store whole; runs know the store by it.
"""

import glob
import hashlib
import json
import mmap
import os
import shutil
import socket
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data.tokens import (
    CODE_DTYPE,
    START_DTYPE,
    TEXT_DTYPE,
    Names,
    Ragged,
    TextTokenizer,
    TokenTable,
)

FORMAT = 1
NAME = "store.json"
DTYPES: Mapping[str, Any] = {
    "speech": CODE_DTYPE,
    "speech_starts": START_DTYPE,
    "text": TEXT_DTYPE,
    "text_starts": START_DTYPE,
    "names": np.uint8,
    "name_starts": START_DTYPE,
    "voices": np.int32,
    "lengths": np.int32,
    "alignment": CODE_DTYPE,  # optional
}
READ_WHOLE_BYTES = 1 << 30
BY_ROW = ("speech", "text", "names", "alignment")  # read here and there, the others whole
PROBES = 4  # texts that the tokenizer is compared by


@dataclass(frozen=True)
class Store:
    """An opened store: nothing of its arrays is in memory yet."""

    folder: Path
    about: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    def table(self, split: str, tokenizer: TextTokenizer, codebook_size: int) -> TokenTable:
        """The utterances of a split. Raises ValueError for an unknown split, another codebook, and a
        tokenizer that makes other ids of the store's texts."""
        splits, codes = self.about["splits"], self.about["codes"]
        if split not in splits:
            known = ", ".join(sorted(splits)) or "none"
            raise ValueError(
                f"token store {self.folder} has no utterance in split {split!r}; splits: {known}"
            )
        if codes != codebook_size:
            raise ValueError(
                f"token store {self.folder} has tokens of {codes} codes, the model {codebook_size}"
            )
        for text, ids in self.about["probe"]:
            if list(tokenizer.encode(text)) != ids:
                raise ValueError(
                    f"token store {self.folder} was made with another text tokenizer: {text!r}; make it "
                    "again with `python -m data.pack`"
                )
        first, last = splits[split]
        given, whole = self.arrays, slice(first, last + 1)

        def rows(values: str, starts: str) -> Ragged:
            return Ragged(given[values], given[starts][whole])

        return TokenTable(
            Names(rows("names", "name_starts")),
            tuple(self.about["voices"]),
            given["voices"][first:last],
            rows("text", "text_starts"),
            rows("speech", "speech_starts"),
            rows("alignment", "speech_starts") if "alignment" in given else None,
            given["lengths"][first:last],
        )


def open_store(folder: Path) -> Store:
    """Maps its files. Raises FileNotFoundError for a folder that is no store or lacks a file, ValueError for a
    store.json that is damaged or of another format, and for a file of another size."""
    path = folder / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {folder} is no token store, or not whole")
    try:
        about = json.loads(path.read_text())
        known, sizes = about["format"], about["bytes"]
        splits = {name: (int(a), int(b)) for name, (a, b) in about["splits"].items()}
        rows, _ = int(about["rows"]), about["codes"]
        texts = [(str(text), [int(i) for i in ids]) for text, ids in about["probe"]]
        whole = sizes.keys() == about["sha256"].keys() and len(texts) <= PROBES
        whole &= all(isinstance(n, int) for n in sizes.values())
        whole &= isinstance(about["voices"], list)
        whole &= all(isinstance(name, str) for name in about["voices"])
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__} {error}") from error
    if not whole:
        raise ValueError(
            f"{path} is damaged: its files, hashes, voices or texts are not what they were"
        )
    if known != FORMAT:
        raise ValueError(f"{path} is of format {known}, this version reads {FORMAT}")
    if not all(0 <= first < last <= rows for first, last in splits.values()):
        raise ValueError(f"{path} is damaged: splits leave its {rows} rows")
    arrays = {}
    for name, size in sizes.items():
        file = folder / f"{name}.bin"
        if name not in DTYPES:
            raise ValueError(f"{path} is damaged: it names an unknown file {name!r}")
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist: {folder} is not whole")
        if file.stat().st_size != size:
            raise ValueError(f"{file} has {file.stat().st_size} bytes, {NAME} says {size}")
        arrays[name] = _mapped(file, name) if size else np.zeros(0, DTYPES[name])
    if missing := DTYPES.keys() - arrays.keys() - {"alignment"}:
        raise ValueError(f"{path} is damaged: it names no {', '.join(sorted(missing))}")
    counts = {"speech_starts": rows + 1, "text_starts": rows + 1, "name_starts": rows + 1}
    for name, count in {**counts, "voices": rows, "lengths": rows}.items():
        if len(arrays[name]) != count:
            raise ValueError(f"{folder / name}.bin has {len(arrays[name])} rows of {count}")
    return Store(folder, {**about, "splits": splits, "probe": texts}, arrays)


def _mapped(file: Path, name: str) -> np.ndarray:
    array = np.memmap(file, DTYPES[name], mode="r")
    if name in BY_ROW and array.nbytes > READ_WHOLE_BYTES and hasattr(mmap, "MADV_RANDOM"):
        # A row has some hundred bytes; without this the kernel reads and maps megabytes around each, which
        # is of use only where all of the file is soon in memory.
        array._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]  # numpy has no other way
    return array


def check_store(folder: Path) -> None:
    """Reads all of it. Raises as `open_store`, and ValueError for a file whose content has changed."""
    for name, expected in open_store(folder).about["sha256"].items():
        if _sha256(folder / f"{name}.bin") != expected:
            raise ValueError(f"{folder / name}.bin is damaged: its content is not what was written")


def write_store(
    folder: Path,
    splits: Mapping[str, Iterable[TokenTable]],
    codes: int,
    probe: Iterable[tuple[str, list[int]]],
    source: str | None = None,
) -> Path:
    """Writes the pieces of each split one after the other; returns the folder, which appears whole.

    `source`: the hash of the table that it is made of. Raises FileExistsError when the folder is there,
    ValueError for splits of which some have alignments only, and for no utterance.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists: choose another out=, or remove it")
    mine = f"{folder.name}.{socket.gethostname()}-"
    partial = folder.with_name(f"{mine}{os.getpid()}.partial")
    for left in folder.parent.glob(f"{glob.escape(mine)}*.partial"):  # of commands that were killed
        if not _alive(left.name.removeprefix(mine).removesuffix(".partial")):
            shutil.rmtree(left, ignore_errors=True)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with _Writer(partial) as writer:
            bounds = {}
            for name, pieces in splits.items():
                first = writer.rows
                for piece in pieces:
                    writer.add(piece)
                if writer.rows > first:
                    bounds[name] = (first, writer.rows)
            voices, rows = list(writer.voices), writer.rows
        if not rows:
            raise ValueError(f"no utterance to write to {folder}")
        files = sorted(partial.glob("*.bin"))
        about = {
            "format": FORMAT,
            "rows": rows,
            "codes": codes,
            "splits": bounds,
            "probe": list(probe)[:PROBES],
            "source": source,
            "bytes": {file.stem: file.stat().st_size for file in files},
            "sha256": {file.stem: _sha256(file) for file in files},
            "voices": voices,
        }
        (partial / NAME).write_text(json.dumps(about, ensure_ascii=False) + "\n")
        try:
            os.rename(partial, folder)
        except OSError as error:
            if not folder.exists():
                raise
            raise FileExistsError(f"{folder}: another process has written it meanwhile") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _alive(pid: str) -> bool:
    """Whether a process of this machine has that number."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        pass
    return True


class _Writer:
    """Appends tables to the files of a store."""

    def __init__(self, folder: Path):
        self.folder, self.rows = folder, 0
        self.voices: dict[str, int] = {}
        self._ends = {"speech_starts": 0, "text_starts": 0, "name_starts": 0}
        self._aligned: bool | None = None
        self._files: dict[str, BinaryIO] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "_Writer":
        for name in DTYPES:
            if name != "alignment":
                self._open(name)
        for name in self._ends:
            self._write(name, np.zeros(1))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def _open(self, name: str) -> None:
        self._files[name] = self._stack.enter_context((self.folder / f"{name}.bin").open("wb"))

    def _write(self, name: str, values: np.ndarray) -> None:
        if name not in self._files:
            self._open(name)
        self._files[name].write(np.ascontiguousarray(values, DTYPES[name]).tobytes())

    def add(self, table: TokenTable) -> None:
        aligned = table.alignments is not None
        if self._aligned not in (None, aligned):
            raise ValueError("some of the utterances have alignments and some have none")
        self._aligned = aligned
        parts = {"speech": table.speech_ids, "text": table.text_ids, "name": table.utterances.rows}
        for name, rows in parts.items():
            self._write("names" if name == "name" else name, rows.flat())
            ends = np.cumsum(rows.lengths(), dtype=START_DTYPE) + self._ends[f"{name}_starts"]
            self._write(f"{name}_starts", ends)
            self._ends[f"{name}_starts"] = int(ends[-1])
        if table.alignments is not None:
            self._write("alignment", table.alignments.flat())
        numbers = [self.voices.setdefault(n, len(self.voices)) for n in table.voice_names]
        self._write("voices", np.array(numbers, np.int32)[table.voice_numbers])
        self._write("lengths", table.lengths)
        self.rows += len(table)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
