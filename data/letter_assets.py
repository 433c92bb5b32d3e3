"""The open system with letters in: its assets with texts as characters in place of phonemes.

    python -m data.letter_assets out=<folder> [assets=assets/open]

To measure which text frontend a teacher reads better with: the same speech tokens, lists, prompts and codec.
Only the codec's note names another frontend, and each speech token speaks a character in place of a phoneme.
For `paths.assets=<folder> paths.tokens=<folder>/tokens.parquet`. A teacher is not copied: it reads phonemes.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from data.arguments import clear_errors, parse_arguments
from data.phone_alignment import letters_of_phonemes
from data.shipping import CARD, MANIFEST, begin
from data.whole_files import write_table
from mamtra.speech.mini_codec import SIZES, read_text_name

LETTERS, PHONEMES = "characters", "phonemes"
TABLE = "tokens.parquet"


def with_letters(table: pd.DataFrame) -> pd.DataFrame:
    """A token table whose `alignment` names characters, from one that names phonemes.

    Raises ValueError, naming the utterance, for an alignment that is not one of its text.
    """
    found: list[np.ndarray] = []
    for name, text, spoken in zip(
        table["utterance"], table["text"], table["alignment"], strict=True
    ):
        try:
            found.append(letters_of_phonemes(text, spoken).astype("int16"))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return table.assign(alignment=found)


def write_letter_assets(assets: Path, out: Path) -> Path:
    """Returns the folder, which appears whole.

    Raises FileNotFoundError for a folder without codec or token table, FileExistsError where `out` exists,
    and ValueError for a system that does not read phonemes.
    """
    for name in (SIZES, TABLE):
        if not (assets / name).is_file():
            raise FileNotFoundError(f"{assets / name} is missing: assets= should be assets/open")
    if (given := read_text_name(assets)) != PHONEMES:
        raise ValueError(f"{assets / SIZES} names the text frontend {given!r}, not {PHONEMES!r}")
    if out.exists():
        raise FileExistsError(f"{out} is there: remove it, or name another out=")
    fresh, others = begin(out), shutil.ignore_patterns("teacher", TABLE, CARD, MANIFEST)
    shutil.copytree(assets, fresh, ignore=others, dirs_exist_ok=True)
    about = json.loads((assets / SIZES).read_text()) | {"text": LETTERS}
    (fresh / SIZES).write_text(json.dumps(about, indent=1))
    write_table(fresh / TABLE, with_letters(pd.read_parquet(assets / TABLE)))
    os.replace(fresh, out)
    return out


def main() -> None:
    given = parse_arguments(__doc__, ("out",), ("assets",))
    with clear_errors():
        out = write_letter_assets(Path(given.get("assets", "assets/open")), Path(given["out"]))
    print(f"codec, lists and {TABLE} with letters -> {out}")


if __name__ == "__main__":
    main()
