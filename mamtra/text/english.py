"""Written English to words that can be looked up: numbers, dates, abbreviations, symbols, punctuation.

What comes out has lower-case words with apostrophes, single capitals for letters that are spelled ("B B C"),
single spaces, and the marks , . ? ! behind words; it ends with . ? or !.
"""

import re
import unicodedata
from collections.abc import Callable

from mamtra.text.numbers import cardinal, decimal, digits, ordinal, year

ENDS = ".?!"
MARKS = "," + ENDS


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _table(text: str) -> dict[str, str]:
    """ "a: one; b: two" to a dict; spaces around values stay out."""
    pairs = (entry.split(":", 1) for entry in text.split(";"))
    return {key.strip(): value.strip() for key, value in pairs}


_MONTHS = _words(
    "January February March April May June July August September October November December"
)
_ABBREVIATIONS = _table(
    """mr: mister; mrs: missis; ms: miz; dr: doctor; prof: professor; st: saint; jr: junior; sr: senior;
    vs: versus; etc: et cetera; gen: general; col: colonel; capt: captain; lt: lieutenant; rev: reverend;
    hon: honorable; mt: mount; dept: department; approx: approximately; inc: incorporated; ltd: limited;
    co: company; ave: avenue; blvd: boulevard; rd: road; fig: figure; vol: volume; sept: september"""
) | {month[:3].lower(): month.lower() for month in _MONTHS if month != "May"}
_UNITS = _table(
    """km: kilometers; cm: centimeters; mm: millimeters; kg: kilograms; mg: milligrams; ml: milliliters;
    mph: miles per hour; lb: pounds; lbs: pounds; oz: ounces; ft: feet; khz: kilohertz; hz: hertz;
    gb: gigabytes; mb: megabytes; min: minutes; sec: seconds; hrs: hours"""
)
_CURRENCIES = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_SYMBOLS = _table(
    """&: and; %: percent; +: plus; =: equals; @: at; #: number; °: degrees; /: slash; $: dollars;
    £: pounds; €: euros; ×: times; ÷: divided by; <: less than; >: greater than; ©: copyright;
    ™:; ®:; §: section"""
)
# Acronyms with vowels that are spelled all the same.
_SPELLED = frozenset(
    _words("US USA UK UN EU FBI CIA AI API IBM ID IQ IT UFO EEG IOU ATM CEO UCLA MIT")
)
_TYPOGRAPHY = str.maketrans(
    {
        **dict.fromkeys("‘’ʼ´`", "'"),
        **dict.fromkeys('“”„«»"*_~^|\\', " "),
        **dict.fromkeys("–—―−", "-"),
        **dict.fromkeys("()[]{};…·•", ","),
        "¿": " ",
        "¡": " ",
    }
)


def _money(match: re.Match[str]) -> str:
    unit, part = _CURRENCIES[match[1]]
    whole, cents = match[2].replace(",", ""), match[3]
    scale = f" {match[4].lower()}" if match[4] else ""
    if cents and (scale or len(cents) != 2):
        return f"{decimal(whole, cents)}{scale} {unit}s"
    said = f"{cardinal(whole)}{scale} {unit}{'' if whole == '1' and not scale else 's'}"
    if cents and int(cents):
        plural = "pence" if part == "penny" else f"{part}s"
        said += f" and {cardinal(str(int(cents)))} {part if int(cents) == 1 else plural}"
    return said


def _clock(match: re.Match[str]) -> str:
    hour, minute = cardinal(str(int(match[1]))), match[2]
    if minute == "00":
        said = hour if match[3] else f"{hour} o'clock"
    else:
        said = f"{hour} {'oh ' + cardinal(minute[1]) if minute[0] == '0' else cardinal(minute)}"
    return said + (f" {match[3][0].upper()} M" if match[3] else "")


def _date(years: str, month: str, day: str) -> str:
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return " ".join(map(cardinal, (month, day, years)))
    return f"{_MONTHS[int(month) - 1]} {ordinal(str(int(day)))}, {year(years)}"


def _number(match: re.Match[str]) -> str:
    text = match[0]
    # 1,100 to 2,099 without a comma are years far more often than counts.
    if re.fullmatch(r"1[1-9]\d\d|20\d\d", text):
        return year(text)
    return cardinal(text)


_MONTH = "|".join(f"{month}|{month[:3]}\\.?" for month in _MONTHS)
_MONTH_OF = {month[:3]: month for month in _MONTHS}
_UNIT = "|".join(sorted(_UNITS, key=len, reverse=True))
Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]
_RULES: tuple[Rule, ...] = (
    (re.compile(r"([$£€])(\d[\d,]*)(?:\.(\d+))?(?: (thousand|[mbtMBT]illion))?"), _money),
    (re.compile(r"\b(\d{4})-(\d\d)-(\d\d)\b"), lambda m: _date(m[1], m[2], m[3])),
    (re.compile(r"\b(\d{1,2})/(\d{1,2})/(\d{4})\b"), lambda m: _date(m[3], m[1], m[2])),
    (
        re.compile(rf"\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?\b(?!:)"),
        lambda m: f"{_MONTH_OF[m[1][:3]]} {ordinal(m[2])}",
    ),
    (re.compile(r"\b(\d{1,2}):([0-5]\d)(?: ?([aApP])\.?[mM]\b\.?)?"), _clock),
    (
        re.compile(r"\b(\d{1,2}) ?([aApP])\.?[mM]\b\.?"),
        lambda m: f"{cardinal(m[1])} {m[2].upper()} M",
    ),
    (re.compile(r"\b(\d+)(?:st|nd|rd|th)\b"), lambda m: ordinal(m[1])),
    (re.compile(r"\b(1\d|20)(\d)0s\b"), lambda m: _decade(year(f"{m[1]}{m[2]}0"))),
    (re.compile(r"(?<=\d),(?=\d{3}\b)"), lambda m: ""),
    (re.compile(rf"(?<=\d) ?({_UNIT})\b\.?", re.I), lambda m: " " + _UNITS[m[1].lower()]),
    (re.compile(r"\b(\d+)\.(\d+)"), lambda m: decimal(m[1], m[2])),
    (re.compile(r"(?<!\w)\.(\d+)"), lambda m: f"point {digits(m[1])}"),
    (re.compile(r"\b1/2\b"), lambda m: "one half"),
    (re.compile(r"(?<![\w.])-(?=\d)"), lambda m: "minus "),
    (re.compile(r"\d{16,}"), lambda m: digits(m[0])),
    (re.compile(r"\d+"), lambda m: f" {_number(m)} "),
)


def _decade(said: str) -> str:
    return said[:-1] + "ies" if said.endswith("y") else said + "s"


def _expand(match: re.Match[str]) -> str:
    return _ABBREVIATIONS[match[1].lower()]


_TITLES = re.compile(rf"\b({'|'.join(sorted(_ABBREVIATIONS, key=len, reverse=True))})\.", re.I)
_INITIALS = re.compile(r"\b((?:[A-Za-z]\.){2,})")


def plain_letters(text: str) -> str:
    """Text with accents taken off and typographic marks made plain.

    Raises ValueError naming the first character that no rule reads, with its position in `text`.
    """
    plain: list[str] = []
    for position, character in enumerate(text):
        apart = unicodedata.normalize("NFKD", character.translate(_TYPOGRAPHY))
        for part in apart:
            if unicodedata.combining(part):
                continue
            if part.isspace():
                plain.append(" ")
            elif part in _SYMBOLS or (part.isascii() and part.isprintable()):
                plain.append(part)
            elif part == "\u2044":  # in the middle of "½"
                plain.append("/")
            else:
                raise ValueError(
                    f"character {character!r} at position {position} cannot be read: write the text in "
                    "English letters, digits and common symbols"
                )
    return "".join(plain)


def normalise_english(text: str) -> str:
    """Spoken form of a written text; see the file's top. Unchanged when applied to its own result.

    Raises ValueError when nothing is left to speak, and as `plain_letters`.
    """
    if not text.strip():
        raise ValueError("the text is empty")
    said = plain_letters(text)
    said = _INITIALS.sub(lambda m: " ".join(m[1].replace(".", " ").upper().split()) + " ", said)
    for pattern, speak in _RULES:
        said = pattern.sub(speak, said)
    said = _TITLES.sub(_expand, said)
    said = re.sub(r"\s-+\s", ", ", said)  # a dash, not a hyphen
    said = "".join(f" {_SYMBOLS[c]} " if c in _SYMBOLS else c for c in said)
    shouted = not re.search(r"[a-z]", said)
    words = re.findall(r"[A-Za-z]+(?:'[A-Za-z]+)*(?:(?<=[sS])')?|[,.?!:]+|-+", said)
    spoken: list[str] = []
    for word, after in zip(words, words[1:] + [""], strict=True):
        if word[0] in MARKS + ":" or (word[0] == "-" and len(word) > 1):
            _mark(spoken, word)
        elif word[0] != "-":
            beside = (spoken[-1] if spoken else "", after)
            spoken += [word.lower()] if shouted else _letters(word, beside)
    _mark(spoken, "")
    if not any(part[0] not in MARKS for part in spoken):
        raise ValueError(f"the text {text[:40]!r} has nothing to speak")
    line = " ".join(spoken)
    line = re.sub(r" ([,.?!])", r"\1", line).strip()
    return line if line[-1] in ENDS else line.rstrip(",") + "."


def _mark(spoken: list[str], marks: str) -> None:
    """Adds one mark for a run of them, the strongest, and none at the start."""
    if spoken and marks and spoken[-1][0] not in MARKS:
        strong = [mark for mark in marks if mark in "?!"] or [mark for mark in marks if mark == "."]
        spoken.append((strong or [","])[0])


def _letters(word: str, beside: tuple[str, str]) -> list[str]:
    """The word in lower case, or its letters where capitals are to be spelled ("BBC", the B of "plan B")."""
    if not word.isupper() or word == "I":
        return [word.lower()]
    if word == "A":  # an article, unless letters stand before or behind it
        spelled = any(len(word) == 1 and word.isupper() and word not in "AI" for word in beside)
        return [word if spelled else "a"]
    if len(word) == 1 or word in _SPELLED or (len(word) <= 5 and not re.search("[AEIOUY]", word)):
        return list(word.replace("'", ""))
    return [word.lower()]
