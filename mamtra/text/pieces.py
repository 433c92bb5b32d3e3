"""A text in pieces that a model can speak one after the other: sentences, long ones cut at commas or words."""

from collections.abc import Callable, Iterator

ENDS = ".?!"


def cut_text(text: str, length: Callable[[str], int], most: int) -> list[str]:
    """Sentences of a text of single spaces whose marks stand at the ends of words, in order; nothing is lost.

    One whose `length` is above `most` is cut at commas, and where that does not suffice between words.
    Raises ValueError for a word that alone is too long, and what `length` raises.
    """
    found: list[str] = []
    for sentence in _runs(text.split(), ENDS):
        if length(sentence) <= most:
            found.append(sentence)
            continue
        current = ""
        for part in _short_parts(sentence, length, most):
            longer = f"{current} {part}".strip()
            if current and length(longer) > most:
                found.append(current)
                longer = part
            current = longer
        found.append(current)
    return found


def _short_parts(sentence: str, length: Callable[[str], int], most: int) -> Iterator[str]:
    for part in _runs(sentence.split(), ","):
        if length(part) <= most:
            yield part
            continue
        for word in part.split():
            if length(word) > most:
                letters = sum(map(str.isalpha, word))
                raise ValueError(
                    f"the word {word[:20]!r}... of {letters} letters is too long to be spoken"
                )
            yield word


def _runs(words: list[str], marks: str) -> list[str]:
    """Runs of words up to and with one that ends with a mark."""
    parts: list[list[str]] = [[]]
    for word in words:
        parts[-1].append(word)
        if word[-1] in marks:
            parts.append([])
    return [" ".join(part) for part in parts if part]
