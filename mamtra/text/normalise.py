"""CosyVoice 2's reading of written text: normalisation, and splitting into pieces to be spoken.

Follows CosyVoice cli/frontend.py (text_normalize) and utils/frontend_utils.py in behaviour. Training text
of LibriTTS is not normalised: it goes to the tokenizer as it stands.
"""

import re
from collections.abc import Callable
from functools import cache
from itertools import groupby
from typing import Any

# A piece grows until it has more than MAX_TOKENS, unless it has no more than MIN_TOKENS yet; a last piece
# below MERGE_TOKENS joins the one before (frontend.py:157).
MAX_TOKENS, MIN_TOKENS, MERGE_TOKENS = 80, 60, 20
ENGLISH_ENDS = ".?!;:"
CHINESE_ENDS = "。？！；：、.?!;"
CLOSING_QUOTES = '"”'
_MISSING = "needs the packages of `pip install -e '.[cosyvoice2]'`"


def contains_chinese(text: str) -> bool:
    """Whether any character is a CJK ideograph: decides the rules for the whole text."""
    return re.search(r"[\u4e00-\u9fff]", text) is not None


def is_spoken(text: str) -> bool:
    """False for an empty text and for punctuation and symbols alone."""
    import regex

    return regex.fullmatch(r"[\p{P}\p{S}]*", text) is None


def has_markup(text: str) -> bool:
    """Whether a text holds `<|...|>`: such a text is read as it stands, neither normalised nor split
    (cli/frontend.py, text_normalize)."""
    return "<|" in text and "|>" in text


def normalise(text: str) -> str:
    """Written text as CosyVoice 2 reads it: numbers and symbols spelled out.

    A text with markup is left alone. English is only touched when it has a digit, which is what
    the wetext version that upstream pins did. Raises ModuleNotFoundError, saying what to install, without
    wetext and inflect.
    """
    if has_markup(text):
        return text
    text = text.strip()
    if not contains_chinese(text):
        text = _wetext()["en"].normalize(text) if re.search(r"\d", text) else text
        return spell_out_digits(text)
    text = _wetext()["zh"].normalize(text).replace("\n", "")
    text = drop_blanks_in_chinese(text).replace("²", "平方").replace("³", "立方")
    text = text.replace(".", "。").replace(" - ", "，")
    for mark in "（）【】`":
        text = text.replace(mark, "")
    return re.sub(r"[，,、]+$", "。", text.replace("——", " "))


@cache
def _wetext() -> dict[str, Any]:
    try:
        from wetext import Normalizer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"normalising text {_MISSING}: {error}") from error
    return {"en": Normalizer(), "zh": Normalizer(remove_erhua=False)}


@cache
def _inflect() -> Any:
    try:
        import inflect
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"spelling numbers {_MISSING}: {error}") from error
    return inflect.engine()


def spell_out_digits(text: str) -> str:
    """Every run of digits as English words: "room 12" -> "room twelve"."""
    runs = ((digits, "".join(run)) for digits, run in groupby(text, str.isdigit))
    return "".join(_inflect().number_to_words(run) if digits else run for digits, run in runs)


def drop_blanks_in_chinese(text: str) -> str:
    """Keeps a space only between two ASCII characters that are not spaces themselves."""

    def kept(i: int) -> bool:
        around = (text[i - 1] if i else "", text[i + 1] if i + 1 < len(text) else "")
        return all(c and c.isascii() and c != " " for c in around)

    return "".join(c for i, c in enumerate(text) if c != " " or kept(i))


def split_text(text: str, count_tokens: Callable[[str], int]) -> list[str]:
    """Pieces of a normalised text that are synthesised one after the other, each with the same prompt.

    Cut after sentence ends, where a closing quote may follow. Chinese is measured in characters, anything
    else in tokens. Pieces of punctuation alone are dropped. An empty text gives no piece.
    """
    if not text:
        return []
    chinese = contains_chinese(text)
    ends = CHINESE_ENDS if chinese else ENGLISH_ENDS
    length: Callable[[str], int] = len if chinese else count_tokens
    if text[-1] not in ends:
        text += "。" if chinese else "."
    pieces: list[str] = []
    current = ""
    for sentence in _sentences(text, ends):
        if length(current + sentence) > MAX_TOKENS and length(current) > MIN_TOKENS:
            pieces.append(current)
            current = ""
        current += sentence
    if current:
        if pieces and length(current) < MERGE_TOKENS:
            pieces[-1] += current
        else:
            pieces.append(current)
    return [piece for piece in pieces if is_spoken(piece)]


def _sentences(text: str, ends: str) -> list[str]:
    """Runs up to a sentence end, with the closing quote after it. A mark that follows another one at once
    is dropped ("Wait..." -> "Wait."), as upstream does."""
    found: list[str] = []
    start = 0
    for i, character in enumerate(text):
        if character not in ends:
            continue
        if text[start:i]:
            found.append(text[start : i + 1])
        start = i + 1
        if found and text[i + 1 : i + 2] and text[i + 1] in CLOSING_QUOTES:
            found[-1] += text[i + 1]
            start = i + 2
    return found
