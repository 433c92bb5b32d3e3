"""Reads the tokenised corpus: one parquet row per utterance, with its text, voice and speech
tokens.

Letters: L text characters, T speech tokens.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor

from mamtra.lm.sequence import MIX_RATIO

COLUMNS = ("utterance", "split", "text", "voice", "tokens")
ALIGNMENT = "alignment"  # optional: only a teacher trained from scratch needs it


class TextTokenizer(Protocol):
    """What the reader needs from a text tokenizer (`mamtra.text.characters.CharacterTokenizer`)."""

    def encode(self, text: str) -> Sequence[int]: ...


@dataclass(frozen=True)
class TokenTable:
    """The utterances of one split, in the file's order.

    Fields: `utterances` and `voices` are names; `text_ids[i]` (L_i,) int64; `speech_ids[i]` (T_i,)
    int64. `alignments[i]` (T_i,) int64 is the index of the text token that each speech token speaks;
    None when the file has no such column.
    """

    utterances: tuple[str, ...]
    voices: tuple[str, ...]
    text_ids: tuple[Tensor, ...]
    speech_ids: tuple[Tensor, ...]
    alignments: tuple[Tensor, ...] | None = None

    def __len__(self) -> int:
        return len(self.utterances)

    def sequence_lengths(self, members: Sequence[int]) -> int:
        """Positions of the sequence that joins `members`: sos + texts + task + speech."""
        return 2 + sum(len(self.text_ids[i]) + len(self.speech_ids[i]) for i in members)

    def can_stream(self, members: Sequence[int]) -> bool:
        """Whether the joined sequence has enough speech for its text to be laid out in blocks."""
        n_text = sum(len(self.text_ids[i]) for i in members)
        n_speech = sum(len(self.speech_ids[i]) for i in members)
        return n_speech * MIX_RATIO[0] > n_text * MIX_RATIO[1]


def read_token_table(
    path: str | Path, split: str, tokenizer: TextTokenizer, codebook_size: int
) -> TokenTable:
    """Reads the utterances of `split` ("train", "valid", "test" or "prompt") and tokenises their
    texts.

    Raises FileNotFoundError when `path` is missing, and ValueError, naming the utterance where
    there is one, for a file that is not parquet, a missing column, a duplicate utterance id (in any
    split), an unknown or empty split, an empty text or token list, a token id outside
    0..codebook_size-1, a text with a character outside the tokenizer's alphabet, and an alignment that
    does not name one text token for each speech token.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"token table {path} does not exist")
    try:
        frame = pd.read_parquet(path)
    except Exception as error:  # pyarrow raises its own classes for every kind of damage
        raise ValueError(f"token table {path} is not a readable parquet file: {error}") from error
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise ValueError(f"token table {path} lacks the column(s) {', '.join(missing)}")
    repeated = frame.loc[frame["utterance"].duplicated(), "utterance"].tolist()
    if repeated:
        raise ValueError(f"token table {path}: utterance {repeated[0]!r} appears twice")
    rows = frame[frame["split"] == split]
    if not len(rows):
        known = ", ".join(sorted(map(str, frame["split"].unique()))) or "none"
        raise ValueError(f"token table {path} has no utterance in split {split!r}; splits: {known}")

    text_ids, speech_ids = [], []
    for utterance, text, tokens in zip(
        rows["utterance"], rows["text"], rows["tokens"], strict=True
    ):
        where = f"token table {path}, utterance {utterance!r}"
        text_ids.append(_encode(text, tokenizer, where))
        speech_ids.append(_check_tokens(tokens, codebook_size, where))
    alignments = None
    if ALIGNMENT in frame.columns:
        alignments = tuple(
            _check_alignment(row, text, speech, f"token table {path}, utterance {name!r}")
            for row, text, speech, name in zip(
                rows[ALIGNMENT], text_ids, speech_ids, rows["utterance"], strict=True
            )
        )
    return TokenTable(
        utterances=tuple(rows["utterance"]),
        voices=tuple(rows["voice"]),
        text_ids=tuple(text_ids),
        speech_ids=tuple(speech_ids),
        alignments=alignments,
    )


def join_tables(tables: Sequence[TokenTable]) -> TokenTable:
    """The utterances of several tables, one table after the other.

    Alignments are kept when all tables have them: what a teacher said has none, and then no row has. Raises
    ValueError without tables and for an utterance that is in two of them.
    """
    if not tables:
        raise ValueError("no token table to train on")
    names = [name for table in tables for name in table.utterances]
    if repeated := [name for name, n in Counter(names).items() if n > 1]:
        raise ValueError(f"utterance {repeated[0]!r} is in two token tables")
    aligned = [table.alignments for table in tables if table.alignments is not None]
    whole = len(aligned) == len(tables)
    return TokenTable(
        utterances=tuple(names),
        voices=tuple(voice for table in tables for voice in table.voices),
        text_ids=tuple(ids for table in tables for ids in table.text_ids),
        speech_ids=tuple(ids for table in tables for ids in table.speech_ids),
        alignments=tuple(ids for ids_of in aligned for ids in ids_of) if whole else None,
    )


def _encode(text: str, tokenizer: TextTokenizer, where: str) -> Tensor:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{where}: the text is empty")
    try:
        return torch.tensor(tokenizer.encode(text), dtype=torch.long)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check_tokens(tokens: Sequence[int] | None, codebook_size: int, where: str) -> Tensor:
    if tokens is None or len(tokens) == 0:
        raise ValueError(f"{where}: there are no speech tokens")
    ids = torch.tensor(list(tokens), dtype=torch.long)
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= codebook_size:
        wrong = low if low < 0 else high
        raise ValueError(f"{where}: speech token {wrong} is outside 0..{codebook_size - 1}")
    return ids


def _check_alignment(
    alignment: Sequence[int] | None, text: Tensor, speech: Tensor, where: str
) -> Tensor:
    ids = torch.tensor([] if alignment is None else list(alignment), dtype=torch.long)
    if len(ids) != len(speech):
        raise ValueError(f"{where}: {len(ids)} alignments for {len(speech)} speech tokens")
    if not 0 <= int(ids.min()) <= int(ids.max()) < len(text):
        raise ValueError(f"{where}: the alignment leaves the {len(text)} text tokens")
    return ids
