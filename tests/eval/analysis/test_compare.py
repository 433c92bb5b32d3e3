"""Paired comparisons over finished evaluations, written by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from eval.analysis.compare import AS_GOOD, BETTER, OPEN, WORSE, compare
from eval.store.evaluations import find_evaluations
from eval.store.files import InputError
from tests.eval.stored import put_evaluation

QUIET = Console(quiet=True)
WORDS, UTTERANCES, PROMPTS = 8, 200, 40


def evaluation(root: Path, run: str, name: str, errors, seed=0, profile="p", test_set="t"):
    """What evaluate.py leaves of one system; `errors` one number per utterance, None for no rate."""
    rows = [
        {
            "utterance": f"u{i}",
            "prompt": f"p{i % PROMPTS}.wav",
            "reference_words": WORDS,
            "substitutions": e,
            "deletions": None if e is None else 0,
            "insertions": None if e is None else 0,
            "wer": None if e is None else e / WORDS,
        }
        for i, e in enumerate(errors)
    ]
    recipes = {"wer": {"profile": profile}}
    put_evaluation(root / run, name, rows, seed=seed, test_set=test_set, recipes=recipes)


def drawn(seed: int, rate: float) -> list[int]:
    return np.random.default_rng(seed).binomial(WORDS, rate, UTTERANCES).tolist()


def test_equal_systems_and_a_planted_difference(tmp_path):
    base = drawn(0, 0.05)
    worse = [e + (i % 7 == 0) for i, e in enumerate(base)]
    better = [max(e - (i % 3 == 0), 0) for i, e in enumerate(base)]
    for name, errors in (("teacher", base), ("same", base), ("worse", worse), ("better", better)):
        evaluation(tmp_path, name, name, errors)
    found = {one.system: one for one in compare(tmp_path, "teacher", QUIET, margin=0.005)}
    same, worse = found["same"], found["worse"]
    assert (
        same.difference.point == 0 and same.p == same.p_holm == 1 and same.verdict(0.005) == AS_GOOD
    )
    assert worse.difference.point == pytest.approx(29 / 1600) and worse.difference.low > 0
    assert worse.p_holm < 0.01 and worse.verdict(0.005) == WORSE
    assert found["better"].verdict(0.005) == BETTER
    assert worse.p_holm >= worse.p and 0 < worse.detectable < worse.difference.point * 2
    table = pd.read_csv(tmp_path / "compare.csv")
    assert list(table["system"]) == ["better", "same", "worse"]
    text = (tmp_path / "compare.md").read_text()
    assert "against `teacher`" in text and text.count("\n| ") == 4


def test_a_small_noisy_gap_stays_open(tmp_path):
    evaluation(tmp_path, "a", "teacher", drawn(1, 0.05))
    evaluation(tmp_path, "b", "other", drawn(2, 0.05))
    [one] = compare(tmp_path, "teacher", QUIET, margin=0.0005)
    assert one.verdict(0.0005) == OPEN and one.p > 0.05


def test_seeds_are_compared_pair_by_pair(tmp_path):
    rng = np.random.default_rng(0)
    for seed in range(3):
        base = rng.binomial(WORDS, 0.05, UTTERANCES)
        evaluation(tmp_path, f"s{seed}", "teacher", base.tolist(), seed)
        shift = (0, 1, 2)[seed]  # the seeds disagree: the interval has to be wider
        more = base + (np.arange(UTTERANCES) % 20 < shift)
        evaluation(tmp_path, f"t{seed}", "student", more.tolist(), seed)
    [one] = compare(tmp_path, "teacher", QUIET, margin=0.005)
    assert one.seeds == 3 and one.difference.point == pytest.approx(0.05 / WORDS)
    assert one.difference.high - one.difference.low > 0.005
    with pytest.raises(InputError, match="do not pair"):
        evaluation(tmp_path, "t9", "student", drawn(1, 0.1), 9)
        compare(tmp_path, "teacher", QUIET, margin=0.005)


def test_a_baseline_of_one_seed_stands_against_each(tmp_path):
    base = drawn(0, 0.05)
    evaluation(tmp_path, "a", "teacher", base, seed=0)
    for seed in range(2):
        evaluation(tmp_path, f"b{seed}", "student", [e + seed for e in base], seed)
    [one] = compare(tmp_path, "teacher", QUIET, margin=0.005)
    assert one.difference.point == pytest.approx(0.5 / WORDS)


def test_utterances_without_a_rate_are_left_out_of_both(tmp_path):
    evaluation(tmp_path, "a", "teacher", [None, *drawn(0, 0.05)[1:]])
    evaluation(tmp_path, "b", "student", [None, *drawn(0, 0.05)[1:]])
    assert compare(tmp_path, "teacher", QUIET, margin=0.005)[0].difference.point == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"profile": "q"}, "different recipes of wer .profile: p and q"),
        ({"test_set": "v"}, "different test sets"),
        ({"errors": [0] * 7}, "different utterances of a test set .200 and 7"),
        ({"name": "teacher", "run": "c"}, "are both called 'teacher' with seed 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, changes, message):
    evaluation(tmp_path, "a", "teacher", drawn(0, 0.05))
    other = {"run": "b", "name": "student", "errors": drawn(1, 0.05)} | changes
    evaluation(tmp_path, **other)
    with pytest.raises(InputError, match=message):
        compare(tmp_path, "teacher", QUIET, margin=0.005)


def test_missing_and_damaged_results(tmp_path):
    with pytest.raises(InputError, match="holds no scores"):
        find_evaluations(tmp_path)
    evaluation(tmp_path, "a", "teacher", drawn(0, 0.05))
    with pytest.raises(InputError, match="there are: teacher"):
        compare(tmp_path, "none", QUIET, margin=0.005)
    with pytest.raises(InputError, match="nothing to compare"):
        compare(tmp_path, "teacher", QUIET, margin=0.005)
    (tmp_path / "a/evaluation.sqlite").write_text("{ ha" * 1000)
    with pytest.raises(InputError, match=r"evaluation\.sqlite: not a store of evaluations"):
        find_evaluations(tmp_path)
