"""A token store (`data.store`) from a parquet table of tokens: what runs of many processes train from.

python -m data.pack tokens=<table.parquet> out=<folder> text=qwen codes=6561 [system=<CosyVoice2-0.5B>]
python -m data.pack check=<folder>

text: a text frontend of `mamtra.systems`, system: the folder that it is in. The second command reads a store
again and compares it with what was written.
"""

import hashlib
import sys
from pathlib import Path

import pyarrow.parquet as pq

from data.arguments import parse_arguments
from data.parquet import open_parquet, parts, splits_of
from data.store import PROBES, check_store, open_store, write_store
from data.tokens import TextTokenizer
from mamtra.systems import load_text


def pack(tokens: Path, out: Path, tokenizer: TextTokenizer, codes: int) -> Path:
    """Writes the store `out`, one row group in memory at a time. Errors as `open_parquet`, `parts` and
    `write_store`."""
    file, source = open_parquet(tokens), _sha256(tokens)
    pieces = {
        split: parts(tokens, file, split, tokenizer, codes) for split in splits_of(tokens, file)
    }
    return write_store(out, pieces, codes, _probe(file, tokenizer), source)


def packed_before(tokens: Path, out: Path, tokenizer: TextTokenizer, codes: int) -> bool:
    """Whether `out` is the store that `pack` would make. Raises as `open_store` for one that is damaged."""
    if not out.exists():
        return False
    about = open_store(out).about
    same_text = all(list(tokenizer.encode(text)) == ids for text, ids in about["probe"])
    return about.get("source") == _sha256(tokens) and about["codes"] == codes and same_text


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _probe(file: pq.ParquetFile, tokenizer: TextTokenizer) -> list[tuple[str, list[int]]]:
    texts = next(file.iter_batches(batch_size=PROBES, columns=["text"]))["text"].to_pylist()
    return [(text, [int(i) for i in tokenizer.encode(text)]) for text in texts if text]


def main() -> None:
    """The command line in this file's docstring; errors are one line."""
    optional = ("tokens", "out", "text", "codes", "system", "check")
    given = parse_arguments(__doc__, required=(), optional=optional)
    try:
        if "check" in given:
            check_store(Path(given["check"]))
            print(f"{given['check']} is as it was written")
            return
        missing = [n for n in ("tokens", "out", "text", "codes") if n not in given]
        if missing:
            raise ValueError(f"missing: {', '.join(f'{name}=' for name in missing)}")
        reader = load_text(given["text"], Path(given.get("system", ".")))
        made = (Path(given["tokens"]), Path(given["out"]), reader, int(given["codes"]))
        if packed_before(*made):
            check_store(made[1])
            print(f"{given['out']} is complete; nothing to do")
            return
        out = pack(*made)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"-> {out}")


if __name__ == "__main__":
    main()
