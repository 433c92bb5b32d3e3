"""Two lists that tell reading from reciting: sentences of another source, and test sentences in disorder.

    python -m data.corpus.reading_lists corpus=<folder> [workers=2]

writes <corpus>/plain.lst and <corpus>/shuffled.lst, whose prompts are those of the test list, and records
both: a shuffled sentence is hard to hear even in a recording, which is what a model is compared with.
Of a corpus made by `data.corpus.open_build`; the two lists ship in assets/open, without recordings.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from data.arguments import clear_errors, parse_arguments
from data.corpus.build import Utterance
from data.corpus.open_build import SEED, render
from data.corpus.test_list import TestItem, test_items, write_meta
from data.corpus.voices import read_voices
from data.whole_files import alone_in

N_SHUFFLED = 60
# Typed by one person on 2026-11-26, before any model had read them; none is of the corpus.
PLAIN = (
    "Yesterday I bought three tickets to Chicago.",
    "The old bridge was closed because of the storm.",
    "Please call me when you get home tonight.",
    "My sister works in a small hospital near the river.",
    "We should leave before the traffic gets bad.",
    "He forgot his umbrella on the train again.",
    "The soup needs a little more salt and pepper.",
    "Can you tell me where the library is?",
    "They painted the kitchen bright yellow last summer.",
    "A black cat was sleeping under the table.",
    "The teacher asked us to write a short story.",
    "It rained all morning, so the game was cancelled.",
    "I would like a cup of coffee with milk.",
    "The children played in the garden until dark.",
    "Our neighbours have two dogs and a parrot.",
    "She learned to drive when she was forty.",
    "The meeting was moved to Thursday afternoon.",
    "Nobody knows why the lights went out.",
    "This song reminds me of my grandfather.",
    "Turn left at the church and walk two blocks.",
)


def reading_lists(items: Sequence[TestItem], seed: int = SEED) -> dict[str, list[TestItem]]:
    """The items of "plain" and "shuffled", each with the prompt and voice of a test item; equal items and seed
    give equal lists. A shuffled text ends as its sentence does and has another order wherever there is one.
    """
    plain = [
        replace(item, utterance=f"plain-{i:02d}", text=text)
        for i, (item, text) in enumerate(zip(items, PLAIN, strict=False))
    ]
    rng = random.Random(seed)
    shuffled = [
        replace(item, utterance=f"shuffled-{item.utterance}", text=_shuffled(item.text, rng))
        for item in items[:N_SHUFFLED]
    ]
    return {"plain": plain, "shuffled": shuffled}


def _shuffled(text: str, rng: random.Random) -> str:
    words, end = text.rstrip(".?!").replace(",", "").split(), text[len(text.rstrip(".?!")) :]
    order = list(words)
    while len(set(words)) > 1 and order == words:
        rng.shuffle(order)
    return " ".join(order) + end


def write_lists(items: Sequence[TestItem], out: Path, prompts: str, suffix: str) -> None:
    """<out>/plain.lst and <out>/shuffled.lst."""
    for name, made in reading_lists(items).items():
        write_meta(out / f"{name}.lst", made, prompts, "wavs", suffix)


def record(corpus: Path, workers: int) -> None:
    """Both lists of a corpus, with their recordings. Raises FileNotFoundError for a folder that is none."""
    for name in ("manifest.csv", "voices.json"):
        if not (corpus / name).is_file():
            raise FileNotFoundError(
                f"{corpus / name} is missing: corpus= is a data.corpus.open_build"
            )
    items = test_items(pd.read_csv(corpus / "manifest.csv"))
    voices = read_voices(corpus)
    for name, made in reading_lists(items).items():
        rows = [Utterance(i.utterance, "test", i.text, i.voice) for i in made]
        table = render(rows, voices, corpus, name, workers)
        unread = table[table["status"] != "ok"]
        for utterance, status in zip(unread["utterance"], unread["status"], strict=True):
            print(f"not recorded: {utterance}: {status}")
    write_lists(items, corpus, "wavs", ".wav")
    print(f"-> {corpus}/plain.lst, {corpus}/shuffled.lst")


def main() -> None:
    given = parse_arguments(__doc__, ("corpus",), ("workers",))
    corpus = Path(given["corpus"])
    with clear_errors(), alone_in(corpus):
        record(corpus, int(given.get("workers", 2)))


if __name__ == "__main__":
    main()
