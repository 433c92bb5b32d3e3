"""What a listening test asks: the questions about the systems, and checks of the listeners among them.

A check is a question with a known answer:

    noise   mos: a clip under heavy noise, to be rated 1 or 2. pairs: a clip beside itself under noise, to be
            preferred without
    same    pairs: a clip beside itself, to which the answer is "no difference"

There is one check for eight questions, at least four. Who fails more than a quarter of them is left out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.listening.clips import Sound
from eval.store.evaluations import Evaluated
from eval.store.files import InputError

KINDS = ("mos", "pairs")
VALID = {"mos": (1, 2, 3, 4, 5), "pairs": (-1, 0, 1)}  # pairs: -1 is for the first clip
QUESTIONS_PER_CHECK = 8
MIN_CHECKS = 4
ALLOWED_TO_FAIL = 0.25  # of the checks


@dataclass(frozen=True)
class Question:
    """One question. `key` and `clips` are random names, all that the page shows. `check`: its kind."""

    key: str
    utterance: str
    systems: tuple[str, ...]
    clips: tuple[str, ...]
    noisy: tuple[bool, ...]  # by clip
    check: str | None
    expected: tuple[int, ...]  # valid answers of a check


def draw_questions(
    systems: Mapping[str, Evaluated],
    *,
    kind: str,
    baseline: str | None,
    n_items: int,
    seed: int,
) -> list[Question]:
    """Questions about `n_items` sentences that every system has usable speech of, checks among them.

    They come in the order of their random names; equal arguments draw equal questions.

    Raises:
        InputError: an unknown kind, pairs without a baseline, too few systems or sentences, or systems
            that speak different texts.
    """
    if kind not in KINDS:
        raise InputError(f"kind is {' or '.join(KINDS)}, not {kind!r}")
    if kind == "pairs" and (baseline not in systems or len(systems) < 2):
        raise InputError(
            f"pairs need baseline=<system> and another one; there are: {', '.join(systems)}"
        )
    if baseline is not None and baseline not in systems:
        raise InputError(f"baseline={baseline} is not among: {', '.join(systems)}")
    shared = _shared_sentences(systems)
    if not 0 < n_items <= len(shared):
        raise InputError(
            f"{len(shared)} sentences have usable speech of all of {', '.join(systems)}; n_items={n_items}"
        )
    rng = random.Random(seed)
    sentences = rng.sample(shared, n_items)
    asked = [
        ((name,) if kind == "mos" else (name, str(baseline)), sentence)
        for sentence in sentences
        for name in systems
        if kind == "mos" or name != baseline
    ]
    questions = [_question(rng, sentence, names) for names, sentence in asked]
    n_checks = max(MIN_CHECKS, math.ceil(len(asked) / QUESTIONS_PER_CHECK))
    for number in range(n_checks):
        (name, *_), sentence = asked[rng.randrange(len(asked))]
        questions.append(_check(rng, sentence, name, kind, same=bool(number % 2)))
    return sorted(questions, key=lambda question: question.key)


def sounds_of(questions: Sequence[Question], systems: Mapping[str, Evaluated]) -> dict[str, Sound]:
    """What each clip of the questions is made of, by its random name."""
    return {
        clip: Sound(systems[name].wavs / f"{question.utterance}.wav", noisy)
        for question in questions
        for clip, name, noisy in zip(question.clips, question.systems, question.noisy, strict=True)
    }


def _shared_sentences(systems: Mapping[str, Evaluated]) -> list[str]:
    first, *others = systems.values()
    for other in others:
        if other.test_set != first.test_set:
            raise InputError(
                f"{first.folder} and {other.folder} speak different test sets: a listener can only compare the "
                "same texts"
            )
    usable = (
        {row["utterance"] for row in one.rows if row["status"] == "ok"} for one in systems.values()
    )
    return sorted(set.intersection(*usable))


def _question(rng: random.Random, utterance: str, names: Sequence[str]) -> Question:
    sides = list(names)
    rng.shuffle(sides)  # which side a system is on must say nothing either
    return _named(rng, utterance, tuple(sides), (False,) * len(sides), None, ())


def _check(rng: random.Random, utterance: str, name: str, kind: str, same: bool) -> Question:
    if kind == "mos":
        return _named(rng, utterance, (name,), (True,), "noise", (1, 2))
    if same:
        return _named(rng, utterance, (name, name), (False, False), "same", (0,))
    first = rng.random() < 0.5
    return _named(
        rng, utterance, (name, name), (first, not first), "noise", (1,) if first else (-1,)
    )


def _named(
    rng: random.Random,
    utterance: str,
    systems: tuple[str, ...],
    noisy: tuple[bool, ...],
    check: str | None,
    expected: tuple[int, ...],
) -> Question:
    # A clip that is heard twice has two names: equal names would tell which clips are one system's.
    clips = tuple(f"{rng.getrandbits(64):016x}" for _ in systems)
    key = f"q{rng.getrandbits(64):016x}"
    return Question(key, utterance, systems, clips, noisy, check, expected)
