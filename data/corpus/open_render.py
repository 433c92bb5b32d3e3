"""Recordings of the open corpus from what ships: texts, voices and names of its token table.

    python -m data.corpus.open_render out=<folder> [assets=assets/open] [train=500] [valid=40] [test=60]
        [workers=2]

The first `train` and `valid` rows of the table, the first `test` sentences of its test list with their prompts,
as `data.corpus.open_build` makes them, without WordNet, a plan or a screen; about twenty minutes of speech.
Piper draws its noise unseeded: they are other readings than those that ship. Resumable, in shards of 100.
Needs `pip install -e '.[corpus]'`.
"""

from pathlib import Path

import pandas as pd

from data.arguments import clear_errors, parse_arguments
from data.corpus.build import Utterance
from data.corpus.open_build import SEED, render, write_corpus
from data.corpus.test_list import deal
from data.corpus.voices import read_voices
from data.whole_files import alone_in

SIZES = {"train": 500, "valid": 40, "test": 60}


def chosen(table: pd.DataFrame, sizes: dict[str, int]) -> dict[str, list[Utterance]]:
    """Split -> the rows of a token table that are rendered; of the prompts, those of the chosen test voices.

    Raises ValueError for a split that has fewer rows than asked for.
    """
    table = deal(table, SEED)
    found = {}
    for split, size in sizes.items():
        rows = table[table["split"] == split]
        if not 0 < size <= len(rows):
            raise ValueError(f"{split}={size}: the table has 1 to {len(rows)} of them")
        found[split] = pd.DataFrame(rows[:size])
    prompts = table[(table["split"] == "prompt") & table["voice"].isin(found["test"]["voice"])]
    found["prompt"] = pd.DataFrame(prompts)
    columns = ["utterance", "split", "text", "voice"]
    return {
        split: [
            Utterance(*map(str, row)) for row in rows[columns].itertuples(index=False, name=None)
        ]
        for split, rows in found.items()
    }


def render_shipped(assets: Path, out: Path, sizes: dict[str, int], workers: int) -> Path:
    """Returns the manifest. Raises FileNotFoundError for a folder that is not one of the open system, and
    ValueError as `chosen` and `render` do."""
    for name in ("tokens.parquet", "voices.json"):
        if not (assets / name).is_file():
            raise FileNotFoundError(f"{assets / name} is missing: assets= should be assets/open")
    table = pd.read_parquet(
        assets / "tokens.parquet", columns=["utterance", "split", "text", "voice"]
    )
    voices = read_voices(assets)
    tables = [
        render(members, voices, out, f"shipped-{split}", workers)
        for split, members in chosen(table, sizes).items()
    ]
    return write_corpus(pd.concat(tables, ignore_index=True), out)


def main() -> None:
    given = parse_arguments(__doc__, ("out",), ("assets", "workers", *SIZES))
    sizes = {split: int(given.get(split, size)) for split, size in SIZES.items()}
    assets, out = Path(given.get("assets", "assets/open")), Path(given["out"])
    with clear_errors(), alone_in(out):
        render_shipped(assets, out, sizes, int(given.get("workers", 2)))


if __name__ == "__main__":
    main()
