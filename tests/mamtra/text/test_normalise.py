"""Text rules of CosyVoice 2, against upstream's own functions where its wheel is installed."""

import random

import pytest

from mamtra.text.normalise import (
    contains_chinese,
    drop_blanks_in_chinese,
    is_spoken,
    normalise,
    spell_out_digits,
    split_text,
)

pytest.importorskip("wetext", reason="pip install -e '.[cosyvoice2]'")


@pytest.fixture(scope="module")
def upstream():
    name = "cosyvoice.utils.frontend_utils"
    return pytest.importorskip(name, reason="pip install --no-deps token2wav-cosyvoice")


def words(text: str) -> list[str]:
    return text.split()


def count(text: str) -> int:
    return len(words(text))


def english(rng: random.Random) -> str:
    vocabulary = ["the", "dog", "Mr", "3", "42", "didn't", "really", "ran,", "1999", "well-known"]
    ends = [".", "?", "!", ";", ":", "...", '."', ","]
    sentences = []
    for _ in range(rng.randint(1, 14)):
        sentence = " ".join(rng.choices(vocabulary, k=rng.randint(1, 30)))
        sentences.append(sentence + rng.choice(ends))
    return " ".join(sentences) + rng.choice(["", " tail", "?"])


def chinese(rng: random.Random) -> str:
    letters = "今天天气很好我们去公园走走吧这是一个测试句子"
    ends = ["。", "？", "！", "；", "、", "，", "。”", "："]
    parts = [
        "".join(rng.choices(letters, k=rng.randint(1, 40))) + rng.choice(ends) for _ in range(8)
    ]
    return "".join(parts)


@pytest.mark.parametrize(("make", "language"), [(english, "en"), (chinese, "zh")])
def test_pieces_are_upstreams(upstream, make, language):
    rng = random.Random(0)
    for _ in range(300):
        text = make(rng)
        theirs = upstream.split_paragraph(
            text, words, language, token_max_n=80, token_min_n=60, merge_len=20
        )
        theirs = [piece for piece in theirs if not upstream.is_only_punctuation(piece)]
        assert split_text(text, count) == theirs


def test_small_rules_are_upstreams(upstream):
    import inflect

    engine, rng = inflect.engine(), random.Random(1)
    for _ in range(200):
        text = english(rng)
        assert spell_out_digits(text) == upstream.spell_out_number(text, engine)
        mixed = "我 " + "".join(rng.choices("ab 我 们.", k=12)) + "们"
        assert drop_blanks_in_chinese(mixed) == upstream.replace_blank(mixed)
        marks = "".join(rng.choices("?!。，a $", k=rng.randint(0, 4)))
        assert is_spoken(marks) is not upstream.is_only_punctuation(marks)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Dr. Who came. ", "Dr. Who came."),  # no digit: untouched
        ("I paid $20.50.", "I paid twenty point five dollars."),
        ("<|en|>room 12", "<|en|>room 12"),
        ("我有 3.5 元", "我有三点五元"),
        ("他说（小声）——好，", "他说小声 好。"),
    ],
)
def test_normalised_texts(text, expected):
    assert normalise(text) == expected


def test_odd_texts():
    assert split_text("", count) == [] and split_text("?!", count) == []
    assert split_text('"', count) == [] and split_text('."Go', count) == ['"Go.']
    assert split_text("Wait... what", count) == ["Wait. what."]
    assert drop_blanks_in_chinese(" 我 ") == "我" and drop_blanks_in_chinese("") == ""
    assert contains_chinese("a我") and not contains_chinese("カタ")
