"""Which of a teacher's utterances are left out, and why."""

import numpy as np
import pytest

from data.generated_rule import OK, REASONS, longest_run, measure

RECORDINGS = [[*range(n)] for n in (20, 22, 27, 30, 42)]
TEXTS = [10, 10, 14, 14, 20]


@pytest.fixture
def rule():
    return measure(TEXTS, RECORDINGS)


@pytest.mark.parametrize(
    ("tokens", "runs"),
    [
        ([1, 2, 3], 1),
        ([5], 1),
        ([1, 1, 1, 2], 3),
        ([9, 1, 2, 1, 2, 1, 2, 1], 3),
        ([1, 2, 3, 1, 2], 1),
        ([1, 1, 2, 2, 2, 2, 2], 5),
        ([*range(30)] * 3, 1),  # a phrase of more than a second
        ([*range(25)] * 3, 3),
    ],
)
def test_the_longest_run_of_a_phrase(tokens, runs):
    assert longest_run(np.array(tokens)) == runs


def test_recordings_are_fit_by_their_own_rule(rule):
    said = zip(TEXTS, RECORDINGS, strict=True)
    assert [rule(text, tokens, False, False) for text, tokens in said] == [OK] * 5
    assert rule.most_repeats == 1 and rule.shortest < 1 < rule.longest


@pytest.mark.parametrize(
    ("tokens", "hit_max", "reason"),
    [
        ([*range(25)], True, "limit"),
        ([], False, "empty"),
        ([*range(10), 3, 3, *range(10)], False, "loop"),
        ([*range(5)], False, "short"),
        ([*range(60)], False, "long"),
        ([*range(22)], False, OK),
    ],
)
def test_the_first_reason_that_applies(rule, tokens, hit_max, reason):
    assert rule(10, tokens, hit_max, False) == reason
    assert reason in (*REASONS, OK)
    assert rule(10, tokens, hit_max, True) == "failed"


def test_length_is_judged_beside_the_text(rule):
    assert (
        rule(10, [*range(40)], False, False) == "long"
        and rule(20, [*range(40)], False, False) == OK
    )


def test_texts_of_one_length_are_a_rule_too():
    rule = measure([10, 10], [[1, 2, 3], [1, 2, 3, 4, 5]])
    assert rule.per_text == 0 and rule.start == 4
    assert rule(99, [1, 2, 3, 4, 5, 6], False, False) == "long"


@pytest.mark.parametrize(
    ("texts", "tokens", "message"),
    [
        ([], [], "0 recordings"),
        ([1], [], "0 recordings of 1 texts"),
        ([1, 2, 3], [[1], [1], [*range(50)]], "no line fits"),
    ],
)
def test_what_makes_no_rule(texts, tokens, message):
    with pytest.raises(ValueError, match=message):
        measure(texts, tokens)
