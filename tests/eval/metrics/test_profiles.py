"""The protocols' arithmetic: values worked out by hand, and seed-tts-eval's own on many pairs."""

import json
import random
import string
from importlib.metadata import version

import jiwer
import numpy as np
import pytest
from zhon.hanzi import punctuation

from eval.metrics.text.profiles import CORPUS, LANGUAGES, PROFILES, profile_of
from eval.metrics.text.wer import utterance_mean, word_diff, word_errors
from eval.metrics.weights import Unavailable

# reference, hypothesis, then the rate by seedtts, f5 and whisper; None where a profile has no say in it.
ENGLISH = [
    ("It’s a well-known fact.", "It's a well known fact.", 0.75, 0.5, 1 / 6),
    ("he made fifty turns that day", "he made 50 turns that day", 1 / 6, 1 / 6, 0.0),
    ("Don't go", "Dont go", 1 / 2, 0.0, 2 / 3),
    ("The cat sat.", "the cat sat", 0.0, 0.0, 0.0),
    ("The cat sat.", "the cat sat down here now", 1.0, 1.0, 1.0),
    ("one two three", "", 1.0, 1.0, 1.0),
    ("a b c d", "a x c", 0.5, 0.5, 0.5),
    ("hello", "hello hello hello", 2.0, 2.0, 2.0),
    ("the colour grey", "the color gray", 2 / 3, 2 / 3, 0.0),
    ("uh I mean hmm yes", "I mean yes", 2 / 5, 2 / 5, 0.0),
    ("it works (sometimes)", "it works", 1 / 3, 1 / 3, 0.0),
    ("a super computer", "a supercomputer", 2 / 3, 2 / 3, 2 / 3),
    ("Mr. Smith arrived", "mister smith arrived", 1 / 3, 1 / 3, 0.0),
    ("twenty-one miles", "21 miles", 1 / 2, 1 / 2, 0.0),
    ("I can't", "I cannot", 1 / 2, 1 / 2, 2 / 3),
    ("5% off", "five percent off", 2 / 2, 2 / 2, 0.0),
    ("hello ,  world", "hello world", 0.0, 0.0, 0.0),
    ("A", "a", 0.0, 0.0, 0.0),
    ("re-enter", "re enter", 2.0, 2.0, 0.0),
    ("the dog’s bone", "the dogs bone", 0.0, 0.0, 1 / 2),
    ("over $20", "over twenty dollars", 2 / 2, 2 / 2, 0.0),
    ("we'll see", "we will see", 2 / 2, 2 / 2, 0.0),
    ("yes — no", "yes no", 0.0, 0.0, 0.0),
    ("e-mail", "email", 0.0, 0.0, 1.0),
]
CHINESE = [
    ("3.5元", "三点五元", 3 / 3, 3 / 3, None),
    ("iPhone十五", "iphone15", 3 / 8, 3 / 8, 2 / 8),
    ("你好，世界。", "你好世界", 0.0, 0.0, 0.0),
    ("我們走", "我们走", 1 / 3, 1 / 3, 1 / 3),
    ("你 好", "你好", 0.0, 0.0, 0.0),
    ("今天天气好", "今天气好", 1 / 5, 1 / 5, 1 / 5),
]


@pytest.mark.parametrize(
    ("language", "pair"),
    [("en", pair) for pair in ENGLISH] + [("zh", pair) for pair in CHINESE],
)
def test_golden_pairs(language, pair):
    reference, hypothesis, *rates = pair
    for name, rate in zip(("seedtts", "f5", "whisper"), rates, strict=True):
        if rate is not None:
            found = word_errors(
                PROFILES[name].normalise(reference, language),
                PROFILES[name].normalise(hypothesis, language),
            )
            assert found.wer == pytest.approx(rate), name


# What normalizer/ and eval_utils.py of the leaderboard say to, worked out by hand; errors and reference words.
OPEN_TTS = [
    ("white paper", "whitepaper", "en", 0, 2),
    ("the dog's bone", "the dog is bone", "en", 1, 4),  # a possessive stays: "dog s"
    ("it's late", "it is late", "en", 0, 3),
    ("the B B C", "the BBC", "en", 0, 2),
    ("a i", "ai", "en", 0, 2),  # two letters with "a" stay apart, and are then a compound
    ("aha, yes", "yes", "en", 0, 1),
    ("twenty-one miles", "21 miles", "en", 0, 2),
    ("a well-known fact", "a well known fact", "en", 0, 4),
    ("他慢慢地走", "她慢慢的走", "zh", 0, 5),
    ("2006年", "二零零六年", "zh", 0, 5),
    ("我們走", "我们走", "zh", 0, 3),
    ("iPhone，好", "iphone好", "zh", 0, 7),
    ("在家", "再家", "zh", 1, 2),
]


@pytest.mark.parametrize(("reference", "heard", "language", "errors", "words"), OPEN_TTS)
def test_open_tts(reference, heard, language, errors, words):
    profile = PROFILES["open_tts"]
    texts = profile.normalise(reference, language), profile.hypothesis(heard, language)
    found = word_errors(*texts, profile.merge_compounds)
    assert (found.errors, found.reference_words) == (errors, words)
    assert profile.headline == CORPUS


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize(
    "space", ["\u00a0", "\u2009", "\u3000", "\u202f", "\n", "\u200b ", " \ufeff"]
)
def test_every_space_counts_as_one(name, space):
    profile = PROFILES[name]
    assert profile.normalise(f"red{space}old house", "en").split(" ") == ["red", "old", "house"]


def test_a_no_break_space_is_a_space_and_the_diff_stays_aligned():
    normalise = PROFILES["seedtts"].normalise
    text, heard = normalise("the\u00a0old house", "en"), normalise("the x y", "en")
    assert word_errors(text, heard).wer == pytest.approx(2 / 3)  # by the originals' rule 2 / 2
    assert [part.reference for part in word_diff(text, heard)] == [("the",), ("old", "house")]
    assert normalise("zero\u200bwidth soft\u00adhyphen", "en") == "zerowidth softhyphen"


def test_a_traditional_transcript_is_read_as_simplified():
    assert PROFILES["seedtts"].hypothesis("我們走", "zh") == "我 们 走"


def seedtts_process_one(hypothesis: str, truth: str, language: str) -> float:
    """run_wer.py's arithmetic, with jiwer 4's name for it."""
    for x in punctuation + string.punctuation:
        if x == "'":
            continue
        truth, hypothesis = truth.replace(x, ""), hypothesis.replace(x, "")
    truth, hypothesis = truth.replace("  ", " "), hypothesis.replace("  ", " ")
    if language == "zh":
        truth, hypothesis = " ".join(list(truth)), " ".join(list(hypothesis))
    else:
        truth, hypothesis = truth.lower(), hypothesis.lower()
    return jiwer.process_words(truth, hypothesis).wer


def pairs(language: str, count: int) -> list[tuple[str, str]]:
    """Sentences with every kind of punctuation, and what a recogniser could make of them."""
    rng = random.Random(language)
    letters = {
        "en": [
            "The",
            "quick",
            "brown",
            "fox",
            "isn't",
            "well-known",
            "at",
            "5",
            "o’clock,",
            "Élise",
        ]
    }
    letters["zh"] = list("今天天气很好我们去公园走一走ABc15") + ["苹果", "。", "，", "“", "！"]
    marks = [*"'-.,;:!?\"()", "，", "。", "…", "·", "  ", "．"]
    joint = " " if language == "en" else ""
    made = []
    for _ in range(count):
        reference = [rng.choice(letters[language]) for _ in range(rng.randint(1, 15))]
        heard = []
        for part in reference:
            kind = rng.random()
            if kind < 0.1:
                continue
            heard.append(rng.choice(letters[language]) if kind < 0.2 else part)
            if kind > 0.9:
                heard.append(rng.choice(letters[language]))
        texts = [
            joint.join(w + (rng.choice(marks) if rng.random() < 0.3 else "") for w in side)
            for side in (reference, heard)
        ]
        if PROFILES["seedtts"].normalise(texts[0], language).split():
            made.append((texts[0], texts[1]))
    return made


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_headline_is_seed_tts_evals_to_its_three_decimals(language):
    profile, given = PROFILES["seedtts"], pairs(language, 300)
    theirs = [seedtts_process_one(heard, said, language) for said, heard in given]
    ours = [
        word_errors(profile.normalise(said, language), profile.normalise(heard, language))
        for said, heard in given
    ]
    assert len(given) >= 200
    assert [errors.wer for errors in ours] == pytest.approx(theirs, abs=1e-12)
    assert round(100 * utterance_mean(ours), 3) == round(float(np.mean(theirs)) * 100, 3) > 10


def test_a_profile_is_known_by_its_rules():
    recipes = [profile.recipe for profile in PROFILES.values()]
    assert len({json.dumps(recipe) for recipe in recipes}) == len(PROFILES)
    assert recipes[0]["packages"]["zhon"] == version("zhon") and len(recipes[0]["code"]) == 12
    assert profile_of("whisper", "en").headline == CORPUS
    with pytest.raises(Unavailable, match="seedtts, f5, whisper, open_tts"):
        profile_of("librispeech", "en")
    with pytest.raises(Unavailable, match="valid: en, zh"):
        profile_of("seedtts", "fr")
