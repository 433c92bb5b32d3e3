"""Written English to spoken words."""

import pytest

from mamtra.text.english import normalise_english
from mamtra.text.numbers import cardinal, decimal, digits, ordinal, year


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "Yesterday I bought 3 tickets to Chicago.",
            "yesterday i bought three tickets to chicago.",
        ),
        ("Dr. Smith met Mrs. O'Neil", "doctor smith met missis o'neil."),
        ("It cost $1.50!", "it cost one dollar and fifty cents!"),
        ("£2 or €1,000", "two pounds or one thousand euros."),
        ("$3.5 million", "three point five million dollars."),
        (
            "11/24/2026 or 2026-11-24",
            "november twenty fourth, twenty twenty six or november twenty fourth, twenty twenty six.",
        ),
        ("on Jan. 5 and May 2nd", "on january fifth and may second."),
        ("at 3:30 p.m. or 10:00?", "at three thirty P M or ten o'clock?"),
        ("at 9:05", "at nine oh five."),
        (
            "born in 1998, in the 1990s",
            "born in nineteen ninety eight, in the nineteen nineties.",
        ),
        ("the 21st of 2005", "the twenty first of two thousand five."),
        ("it's -5°C", "it's minus five degrees C."),
        ("3.14 and .5 and 1/2", "three point one four and point five and one half."),
        ("call 007", "call zero zero seven."),
        ("5 km at 60 mph", "five kilometers at sixty miles per hour."),
        ("50% of R&D", "fifty percent of R and D."),
        ("the BBC, the U.S.A. and NASA", "the B B C, the U S A and nasa."),
        ("plan B is a plan", "plan B is a plan."),
        ("STOP NOW", "stop now."),
        ("“Well,” she said — ‘no’…", "well, she said, no."),
        ("what?! yes... (no)", "what? yes. no."),
        ("a café, naïve", "a cafe, naive."),
        ("the dogs' bowls", "the dogs' bowls."),
        ("well-known -- and loved", "well known, and loved."),
        ("tabs\tand\nlines", "tabs and lines."),
    ],
)
def test_text_is_written_as_it_is_spoken(text, said):
    assert normalise_english(text) == said
    assert normalise_english(said) == said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text is empty"),
        (" \n", "the text is empty"),
        ("?!...", "nothing to speak"),
        ("hi 😀", r"'😀' at position 3"),
        ("你好", r"'你' at position 0"),
        ("при", r"'п' at position 0"),
    ],
)
def test_what_cannot_be_spoken_is_one_clear_error(text, message):
    with pytest.raises(ValueError, match=message):
        normalise_english(text)


def test_every_printable_ascii_character_is_read_or_passed_over():
    for code in range(32, 127):
        said = normalise_english(f"one {chr(code)} two")
        assert said.startswith("one") and said.endswith("two.")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (cardinal("0"), "zero"),
        (cardinal("1000000"), "one million"),
        (cardinal("215"), "two hundred fifteen"),
        (cardinal("9" * 16), " ".join(["nine"] * 16)),
        (ordinal("12"), "twelfth"),
        (ordinal("40"), "fortieth"),
        (ordinal("101"), "one hundred first"),
        (year("1900"), "nineteen hundred"),
        (year("2000"), "two thousand"),
        (year("1906"), "nineteen oh six"),
        (decimal("0", "05"), "zero point zero five"),
        (digits("42"), "four two"),
    ],
)
def test_numbers(made, words):
    assert made == words
