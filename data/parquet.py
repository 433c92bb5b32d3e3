"""A parquet table of tokens, one row per utterance: read, tokenised and checked."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from data.tokens import (
    ALIGNMENT,
    CODE_DTYPE,
    COLUMNS,
    START_DTYPE,
    Ragged,
    TextTokenizer,
    TokenTable,
)

pc: Any = pyarrow.compute  # its functions are made when it is imported: no type checker sees them
LARGEST_CODEBOOK = int(np.iinfo(CODE_DTYPE).max) + 1


def open_parquet(path: Path) -> pq.ParquetFile:
    """Raises ValueError for a file that is not parquet, a missing column, and a duplicate utterance id (in
    any split)."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"token table {path} is not a readable parquet file: {error}") from error
    missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
    if missing:
        raise ValueError(f"token table {path} lacks the column(s) {', '.join(missing)}")
    for field in file.schema_arrow:  # a damaged footer may give a column another type
        if field.name in ("tokens", ALIGNMENT):
            if not _integer_lists(field.type):
                raise ValueError(
                    f"token table {path}: {field.name} are no lists of numbers: {field.type}"
                )
        elif field.name in COLUMNS and pa.types.is_nested(field.type):
            raise ValueError(f"token table {path}: column {field.name} has type {field.type}")
    names = _read(path, file, ["utterance"])["utterance"]
    if pc.count_distinct(names, mode="all").as_py() < len(names):
        counted = pc.value_counts(names.combine_chunks())
        counts = counted.field("counts").to_numpy()
        repeated = counted.field("values")[int(np.argmax(counts > 1))].as_py()
        raise ValueError(f"token table {path}: utterance {repeated!r} appears twice")
    return file


def _integer_lists(kind: pa.DataType) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return lists and pa.types.is_integer(kind.value_type)


def splits_of(path: Path, file: pq.ParquetFile) -> list[str]:
    """Names of the splits that have utterances, sorted."""
    found = pc.unique(_read(path, file, ["split"])["split"]).to_pylist()
    return sorted(str(name) for name in found)


def read_parquet(
    path: Path, split: str, tokenizer: TextTokenizer, codebook_size: int
) -> TokenTable:
    """Raises ValueError as `open_parquet` and `parts`, and for an unknown or empty split."""
    file = open_parquet(path)
    tables = list(parts(path, file, split, tokenizer, codebook_size, whole=True))
    if not tables:
        known = ", ".join(splits_of(path, file)) or "none"
        raise ValueError(f"token table {path} has no utterance in split {split!r}; splits: {known}")
    return tables[0]


def parts(
    path: Path,
    file: pq.ParquetFile,
    split: str,
    tokenizer: TextTokenizer,
    codebook_size: int,
    whole: bool = False,
) -> Iterator[TokenTable]:
    """The utterances of `split` in pieces of a row group, or at once; none where it has no utterance.

    Raises ValueError, naming the utterance, for an empty text or token list, a token id outside
    0..codebook_size-1, a text with a character outside the tokenizer's alphabet, and an alignment that does
    not name one text token for each speech token.
    """
    if codebook_size > LARGEST_CODEBOOK:
        raise ValueError(f"{codebook_size} speech codes: tokens are stored as 16 bits with a sign")
    columns = [*COLUMNS, *([ALIGNMENT] if ALIGNMENT in file.schema_arrow.names else [])]
    groups = [None] if whole else range(file.num_row_groups)
    for group in groups:
        table = _read(path, file, columns, group)
        try:
            table = table.filter(pc.equal(table["split"], split)).combine_chunks()
        except pa.ArrowNotImplementedError as error:
            raise ValueError(f"token table {path}: column split: {error}") from error
        if table.num_rows:
            yield _table(path, table, tokenizer, codebook_size)


def _read(
    path: Path, file: pq.ParquetFile, columns: list[str], group: int | None = None
) -> pa.Table:
    try:
        return file.read(columns) if group is None else file.read_row_group(group, columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"token table {path} is not a readable parquet file: {error}") from error


def _table(path: Path, rows: pa.Table, tokenizer: TextTokenizer, codebook_size: int) -> TokenTable:
    names = rows["utterance"].to_pylist()

    def where(i: int) -> str:
        return f"token table {path}, utterance {names[i]!r}"

    texts = [_encode(text, tokenizer, where(i)) for i, text in enumerate(rows["text"].to_pylist())]
    speech = _lists(rows["tokens"])
    lengths = speech.lengths()
    if not lengths.all():
        raise ValueError(f"{where(int(np.argmin(lengths > 0)))}: there are no speech tokens")
    wrong = (speech.values < 0) | (speech.values >= codebook_size)
    if wrong.any():
        at = int(np.argmax(wrong))
        row = int(np.searchsorted(speech.starts, at, side="right")) - 1
        raise ValueError(
            f"{where(row)}: speech token {speech.values[at]} is outside 0..{codebook_size - 1}"
        )
    alignments = None
    if ALIGNMENT in rows.column_names:
        alignments = _lists(rows[ALIGNMENT])
        for i, n_speech in enumerate(lengths.tolist()):
            _check_alignment(alignments[i].numpy(), len(texts[i]), n_speech, where(i))
        alignments = Ragged(alignments.values.astype(CODE_DTYPE), alignments.starts)
    voices = [str(voice) for voice in rows["voice"].to_pylist()]
    made = TokenTable.of(names, voices, texts, [[] for _ in names])
    codes = Ragged(speech.values.astype(CODE_DTYPE), speech.starts)
    return TokenTable(
        *(made.utterances, made.voice_names, made.voice_numbers, made.text_ids, codes, alignments)
    )


def _lists(column: Any) -> Ragged:
    """A column of lists as int64; no list is an empty one."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    starts = np.zeros(len(lengths) + 1, START_DTYPE)
    np.cumsum(lengths, out=starts[1:])
    values = pc.list_flatten(array).to_numpy(zero_copy_only=False)
    return Ragged(values.astype(np.int64), starts)


def _encode(text: Any, tokenizer: TextTokenizer, where: str) -> Sequence[int]:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{where}: the text is empty")
    try:
        return tokenizer.encode(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check_alignment(alignment: np.ndarray, n_text: int, n_speech: int, where: str) -> None:
    if len(alignment) != n_speech:
        raise ValueError(f"{where}: {len(alignment)} alignments for {n_speech} speech tokens")
    if not 0 <= alignment.min() <= alignment.max() < n_text:
        raise ValueError(f"{where}: the alignment leaves the {n_text} text tokens")
