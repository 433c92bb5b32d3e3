"""A list of long texts from the sentences of another list, for the question whether a reading drifts.

python -m tools.long_form meta=assets/mini/meta.lst out=<folder> [minutes=1,5] [voices=10]
    [words_per_minute=150]

Each of the first `voices` voices says, for each of `minutes`, sentences of the whole list one after the other,
from a place of its own, in the voice of its first prompt. Writes <out>/meta.lst; there are no recordings. Then
`evaluate.py testset.meta=<out>/meta.lst` and `evaluate.py stage=drift`.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from data.arguments import parse_arguments
from eval.store.files import InputError
from eval.testset import Item, read_meta


def long_texts(
    items: Sequence[Item], minutes: Sequence[float], voices: int, words_per_minute: int
) -> list[tuple[str, Item, str]]:
    """(name, the item whose prompt it takes, text), each of at least minutes x words_per_minute words.

    Raises ValueError for fewer voices than asked for.
    """
    firsts: dict[str, int] = {}
    for i, item in enumerate(items):
        firsts.setdefault(item.voice, i)
    if len(firsts) < voices or voices < 1:
        raise ValueError(f"voices={voices}: the list has {len(firsts)}")
    made = []
    for length in minutes:
        for turn, place in enumerate(list(firsts.values())[:voices]):
            # Texts of two voices start as far apart as the list allows.
            at, sentences, words = turn * len(items) // voices, [], 0
            while words < length * words_per_minute:
                text = _sentence(items[at % len(items)].text)
                sentences.append(text)
                words += len(text.split())
                at += 1
            name = f"long-{length:g}min-{turn:02d}"
            made.append((name, items[place], " ".join(sentences)))
    return made


def _sentence(text: str) -> str:
    """With a mark at its end, so that it can be cut from the next."""
    return text if text[-1] in ".?!" else f"{text}."


def main() -> None:
    given = parse_arguments(__doc__, ("meta", "out"), ("minutes", "voices", "words_per_minute"))
    try:
        minutes = [float(part) for part in given.get("minutes", "1,5").split(",")]
        numbers = (int(given.get("voices", "10")), int(given.get("words_per_minute", "150")))
        if min(minutes) <= 0 or numbers[1] < 1:
            raise ValueError("minutes and words_per_minute have to be above 0")
        made = long_texts(read_meta(Path(given["meta"])), minutes, *numbers)
    except (InputError, ValueError) as error:
        sys.exit(f"error: {error}")
    out = Path(given["out"]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, item, text in made:
        assert item.prompt_wav is not None, "read_meta asks for prompts"
        prompt = os.path.relpath(item.prompt_wav.resolve(), out)
        lines.append(f"{name}|{item.prompt_text}|{prompt}|{text}||{item.voice}\n")
    (out / "meta.lst").write_text("".join(lines), encoding="utf-8")
    print(f"{len(lines)} texts -> {out / 'meta.lst'}")


if __name__ == "__main__":
    main()
