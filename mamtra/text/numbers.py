"""Numbers as English words; standard library only."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ONES = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
_SCALES = ("", "thousand", "million", "billion", "trillion")
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
MAX_DIGITS = 15


def digits(text: str) -> str:
    """Each digit by itself: "007" -> "zero zero seven"."""
    return " ".join(_ONES[int(digit)] for digit in text)


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    words = [f"{_ONES[hundreds]} hundred"] if hundreds else []
    if rest >= 20:
        tens, ones = divmod(rest, 10)
        words.append(_TENS[tens - 2] + (f" {_ONES[ones]}" if ones else ""))
    elif rest:
        words.append(_ONES[rest])
    return " ".join(words)


def cardinal(text: str) -> str:
    """Digits as a number: "1205" -> "one thousand two hundred five". Leading zeros and more than
    MAX_DIGITS digits are read one by one."""
    if len(text) > MAX_DIGITS or (len(text) > 1 and text[0] == "0"):
        return digits(text)
    number, parts, scale = int(text), [], 0
    if not number:
        return "zero"
    while number:
        number, part = divmod(number, 1000)
        if part:
            parts.append(f"{_below_thousand(part)} {_SCALES[scale]}".strip())
        scale += 1
    return " ".join(reversed(parts))


def ordinal(text: str) -> str:
    """Digits as a rank: "21" -> "twenty first"."""
    *head, last = cardinal(text).split()
    regular = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return " ".join([*head, _ORDINALS.get(last, regular)])


def year(text: str) -> str:
    """Four digits as a year: "1998" -> "nineteen ninety eight", "2005" -> "two thousand five"."""
    century, rest = int(text[:2]), int(text[2:])
    if century % 10 == 0 and rest < 10:
        return cardinal(text)
    if not rest:
        return f"{_below_thousand(century)} hundred"
    low = f"oh {_ONES[rest]}" if rest < 10 else _below_thousand(rest)
    return f"{_below_thousand(century)} {low}"


def decimal(whole: str, fraction: str) -> str:
    """ "3", "14" -> "three point one four"."""
    return f"{cardinal(whole)} point {digits(fraction)}"
