"""The held-out test list: every test sentence with a prompt recording of its own, held-out, voice."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from data.whole_files import whole


@dataclass(frozen=True)
class TestItem:
    """Ids are recording names without suffix."""

    __test__ = False  # no test of pytest's

    utterance: str
    text: str
    prompt: str
    prompt_text: str
    voice: str


def deal(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The table with its test rows in an order in which the first n, any n, are like all of them: the
    voices take turns, each with its own sentences in a random order. The other rows stay where they are, and
    the order that the test rows have plays no part.
    """
    sorted_rows = pd.DataFrame(table[table["split"] == "test"]).sort_values("utterance")
    test = sorted(sorted_rows.index)
    own = {voice: list(rows.index) for voice, rows in sorted_rows.groupby("voice", sort=True)}
    rng = random.Random(seed)
    for rows in own.values():
        rng.shuffle(rows)
    turns = range(max(map(len, own.values()), default=0))
    dealt = [rows[turn] for turn in turns for rows in own.values() if turn < len(rows)]
    order = dict(zip(test, dealt, strict=True))
    rows = [order.get(row, row) for row in table.index]
    return pd.DataFrame(table.loc[rows]).reset_index(drop=True)


def test_items(table: pd.DataFrame) -> list[TestItem]:
    """Items in table order; the prompts of a voice take turns. `table` is the corpus manifest."""
    prompts = dict(iter(table[table["split"] == "prompt"].groupby("voice")))
    used = dict.fromkeys(prompts, 0)
    items = []
    row: Any  # a named tuple of the columns
    for row in table[table["split"] == "test"].itertuples():
        own = prompts[row.voice]
        prompt = own.iloc[used[row.voice] % len(own)]
        used[row.voice] += 1
        items.append(
            TestItem(row.utterance, row.text, prompt["utterance"], prompt["text"], row.voice)
        )
    return items


def write_meta(
    path: Path, items: list[TestItem], prompts: str, recordings: str, suffix: str
) -> None:
    """Seed-TTS-eval lines with a voice, `utt|prompt_text|prompt_wav|text|recording|voice`.

    Folders are relative to `path`.
    """
    lines = [
        f"{i.utterance}|{i.prompt_text}|{prompts}/{i.prompt}{suffix}|{i.text}|"
        f"{recordings}/{i.utterance}{suffix}|{i.voice}\n"
        for i in items
    ]
    with whole(path) as partial:
        partial.write_text("".join(lines))
