"""The tokenised corpus, in memory or mapped from disk: utterances with voice, text ids and speech tokens.

Read from one parquet table (a row per utterance) or from a store (`data.store`). Either way all ids lie in
a few flat arrays, because ten million small objects are gigabytes by themselves.

Letters: N utterances, L text tokens, T speech tokens.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, overload

import numpy as np
import torch
from torch import Tensor

from mamtra.lm.sequence import MIX_RATIO

COLUMNS = ("utterance", "split", "text", "voice", "tokens")
ALIGNMENT = "alignment"  # optional: only a teacher trained from scratch needs it
TEXT_DTYPE, CODE_DTYPE, START_DTYPE = np.int32, np.int16, np.int64


class TextTokenizer(Protocol):
    """What the reader needs from a text tokenizer (`mamtra.text.characters.CharacterTokenizer`)."""

    def encode(self, text: str) -> Sequence[int]: ...


class Ragged(Sequence[Tensor]):
    """N rows of different length behind one another: row i is `values[starts[i] : starts[i + 1]]`.

    Indexed, it gives a row as an int64 tensor of its own.
    """

    def __init__(self, values: np.ndarray, starts: np.ndarray):
        self.values, self.starts = values, starts

    @classmethod
    def of(cls, rows: Iterable[Sequence[int] | Tensor], dtype: type) -> "Ragged":
        """Raises OverflowError for a value that `dtype` cannot hold."""
        arrays = [np.asarray(row, np.int64) for row in rows]
        starts = np.zeros(len(arrays) + 1, START_DTYPE)
        np.cumsum([len(row) for row in arrays], out=starts[1:])
        values = np.concatenate(arrays) if arrays else np.zeros(0, np.int64)
        info = np.iinfo(dtype)
        if len(values) and not info.min <= values.min() <= values.max() <= info.max:
            raise OverflowError(
                f"ids span {values.min()}..{values.max()}, beyond {np.dtype(dtype)}"
            )
        return cls(values.astype(dtype), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> "Ragged": ...
    def __getitem__(self, index: int | slice) -> "Tensor | Ragged":
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            if step != 1:
                raise ValueError("a part of Ragged has no step")
            return Ragged(self.values, self.starts[first : max(first, last) + 1])
        return torch.from_numpy(self.row(index).astype(np.int64))

    def row(self, index: int) -> np.ndarray:
        """One row as it is stored. Raises IndexError."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return self.values[int(self.starts[index]) : int(self.starts[index + 1])]

    def length(self, index: int) -> int:
        return int(self.starts[index + 1] - self.starts[index])

    def lengths(self) -> np.ndarray:
        """(N,) int32."""
        return np.diff(self.starts).astype(np.int32)

    def flat(self) -> np.ndarray:
        """The values of these rows, without those of others in the same array."""
        return self.values[int(self.starts[0]) : int(self.starts[-1])]


class Names(Sequence[str]):
    """N strings as UTF-8 behind one another."""

    def __init__(self, rows: Ragged):
        self.rows = rows

    @classmethod
    def of(cls, names: Iterable[str]) -> "Names":
        encoded = [name.encode() for name in names]
        starts = np.zeros(len(encoded) + 1, START_DTYPE)
        np.cumsum([len(name) for name in encoded], out=starts[1:])
        return cls(Ragged(np.frombuffer(b"".join(encoded), np.uint8), starts))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Names": ...
    def __getitem__(self, index: int | slice) -> "str | Names":
        if isinstance(index, slice):
            return Names(self.rows[index])
        return bytes(self.rows.row(index)).decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of every mutable sequence


@dataclass(frozen=True)
class TokenTable:
    """The utterances of one split, in the file's order.

    `text_ids[i]` (L_i,) and `speech_ids[i]` (T_i,) int64; `voice_numbers` (N,) int32 of `voice_names`;
    `alignments[i]` (T_i,) int64 is the index of the text token that each speech token speaks, None when the
    file has no such column.
    """

    utterances: Names
    voice_names: tuple[str, ...]
    voice_numbers: np.ndarray
    text_ids: Ragged
    speech_ids: Ragged
    alignments: Ragged | None = None
    stored_lengths: np.ndarray | None = (
        None  # `lengths` of a store, which does not count them again
    )

    @classmethod
    def of(
        cls,
        utterances: Sequence[str],
        voices: Sequence[str],
        text_ids: Iterable[Sequence[int] | Tensor],
        speech_ids: Iterable[Sequence[int] | Tensor],
        alignments: Iterable[Sequence[int] | Tensor] | None = None,
    ) -> "TokenTable":
        """From rows. Raises OverflowError for an id that the arrays cannot hold."""
        names = tuple(dict.fromkeys(voices))
        number = {name: i for i, name in enumerate(names)}
        return cls(
            Names.of(utterances),
            names,
            np.array([number[voice] for voice in voices], np.int32),
            Ragged.of(text_ids, TEXT_DTYPE),
            Ragged.of(speech_ids, CODE_DTYPE),
            None if alignments is None else Ragged.of(alignments, CODE_DTYPE),
        )

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def voices(self) -> "Voices":
        """The voice's name of every utterance."""
        return Voices(self.voice_names, self.voice_numbers)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(N,) int32 positions of each utterance's own sequence."""
        if self.stored_lengths is not None:
            return self.stored_lengths
        return 2 + self.text_ids.lengths() + self.speech_ids.lengths()

    def sequence_lengths(self, members: Sequence[int]) -> int:
        """Positions of the sequence that joins `members`: sos + texts + task + speech."""
        return 2 + sum(int(self.lengths[i]) - 2 for i in members)

    def can_stream(self, members: Sequence[int]) -> bool:
        """Whether the joined sequence has enough speech for its text to be laid out in blocks."""
        n_text = sum(self.text_ids.length(i) for i in members)
        n_speech = sum(self.speech_ids.length(i) for i in members)
        return n_speech * MIX_RATIO[0] > n_text * MIX_RATIO[1]


@dataclass(frozen=True, eq=False)
class Voices(Sequence[str]):
    """Names by number."""

    names: tuple[str, ...]
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index):  # type: ignore[override]  # a slice gives the same
        if isinstance(index, slice):
            return Voices(self.names, self.numbers[index])
        return self.names[int(self.numbers[index])]

    def __iter__(self) -> Iterator[str]:
        return (self.names[number] for number in self.numbers.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)


def join_tables(tables: Sequence[TokenTable]) -> TokenTable:
    """The utterances of several tables, one table after the other; one alone stays where it lies.

    Alignments are kept when all tables have them: what a teacher said has none, and then no row has. Raises
    ValueError without tables and for an utterance that is in two of them.
    """
    if not tables:
        raise ValueError("no token table to train on")
    if len(tables) == 1:
        return tables[0]
    seen: set[str] = set()
    for table in tables:
        for name in table.utterances:
            if name in seen:
                raise ValueError(f"utterance {name!r} is in two token tables")
            seen.add(name)
    names = tuple(dict.fromkeys(name for table in tables for name in table.voice_names))
    places = {name: i for i, name in enumerate(names)}
    numbers = [
        np.array([places[name] for name in table.voice_names], np.int32)[table.voice_numbers]
        for table in tables
    ]
    aligned = [table.alignments for table in tables if table.alignments is not None]
    return TokenTable(
        Names(_joined([table.utterances.rows for table in tables])),
        names,
        np.concatenate(numbers),
        _joined([table.text_ids for table in tables]),
        _joined([table.speech_ids for table in tables]),
        _joined(aligned) if len(aligned) == len(tables) else None,
    )


def _joined(parts: Sequence[Ragged]) -> Ragged:
    lengths = np.concatenate([part.lengths() for part in parts])
    starts = np.zeros(len(lengths) + 1, START_DTYPE)
    np.cumsum(lengths, out=starts[1:])
    return Ragged(np.concatenate([part.flat() for part in parts]), starts)


def read_token_table(
    path: str | Path, split: str, tokenizer: TextTokenizer, codebook_size: int
) -> TokenTable:
    """The utterances of `split` ("train", "valid", "test" or "prompt") of a parquet table or a store.

    Raises FileNotFoundError when `path` is missing, else as `read_parquet` and `open_store`.
    """
    from data.parquet import read_parquet
    from data.store import open_store  # both make what this file defines

    path = Path(path)
    if path.is_dir():
        return open_store(path).table(split, tokenizer, codebook_size)
    if not path.is_file():
        raise FileNotFoundError(f"token table {path} does not exist")
    return read_parquet(path, split, tokenizer, codebook_size)
