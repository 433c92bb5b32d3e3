"""Paired comparisons over finished evaluations: every measure by itself, over all seeds."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from eval.analysis import compare as stage
from eval.analysis.compare import compare
from eval.analysis.comparison import AS_GOOD, BETTER, OPEN, WORSE
from eval.analysis.measures import WER
from eval.store.evaluations import Evaluated
from eval.store.files import InputError
from tests.eval.analysis.score_rows import row

WORDS, UTTERANCES, VOICES = 8, 200, 10
WER_RECIPE = {"asr": "tiny.en", "profile": "seedtts"}
RECIPES = {"wer": WER_RECIPE, "wer_guarded": WER_RECIPE, "sim": {"encoder": "ge2e"}}


def evaluated(name, rows, seed=0, recipes=None, test_set="t", folder=Path("runs")) -> Evaluated:
    facts = {"card": {"kind": "model"}, "speech": {}, "test_set": test_set, "folder": folder}
    return Evaluated(name, seed, recipes=recipes or RECIPES, rows=tuple(rows), **facts)


def scored(name, errors, sim=0.8, **changes) -> Evaluated:
    values = np.broadcast_to(sim, len(errors)).tolist()
    rows = (
        row(f"u{i}", None if e is None else int(e), WORDS, f"v{i % VOICES}", sim_prompt=values[i])
        for i, e in enumerate(errors)
    )
    return evaluated(name, rows, **changes)


def drawn(seed: int, rate: float) -> list[int]:
    return np.random.default_rng(seed).binomial(WORDS, rate, UTTERANCES).tolist()


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """compared(evaluations, margin) -> ({(system, measure): comparison}, what was printed)."""

    def run(systems, margin=0.005, baseline="teacher", results=tmp_path):
        monkeypatch.setattr(stage, "find_evaluations", lambda results: systems)
        console = Console(file=io.StringIO(), width=250)
        found = compare(results, baseline, console, margin)
        return {(one.system, one.measure.name): one for one in found}, console.file.getvalue()  # type: ignore[attr-defined]

    return run


def test_brackets_in_folders_and_names_are_text(compared, tmp_path):
    """Of a console's markup a tag disappears, and a closing one without its opening raises."""
    names, results = ("[bold]teacher[/]", "[/x] it's"), tmp_path / "r [hifi] [/b]"
    systems = [scored(name, drawn(n, 0.05)) for n, name in enumerate(names)]
    _, printed = compared(systems, baseline=names[0], results=results)
    assert f"-> {results}/compare.csv" in printed
    assert all(name in printed for name in names)


def test_equal_systems_and_a_planted_difference(compared, tmp_path):
    base = drawn(0, 0.05)
    worse = [e + (i % 7 == 0) for i, e in enumerate(base)]
    better = [max(e - (i % 3 == 0), 0) for i, e in enumerate(base)]
    systems = [("teacher", base), ("same", base), ("worse", worse), ("better", better)]
    found, _ = compared([scored(*one) for one in systems])
    same, more = found["same", "wer"], found["worse", "wer"]
    assert same.difference.point == 0 and same.difference.p_holm == 1
    # 200 utterances without a difference leave room for 1.8 % that have one.
    assert same.verdict(0.02) == AS_GOOD and same.verdict(0.005) == OPEN
    assert found["better", "wer"].verdict(0.005) == BETTER
    assert more.difference.point == pytest.approx(29 / 1600) and more.difference.low > 0
    assert more.difference.p_holm < 0.01 and more.verdict(0.005) == WORSE
    assert more.difference.p < more.difference.p_holm
    assert 0 < more.difference.detectable < more.difference.point * 2
    table = pd.read_csv(tmp_path / "compare.csv")
    rates = table[table["measure"] == "wer"]
    assert list(rates["system"]) == ["better", "same", "worse"]
    assert set(table["utterances"]) == {200} and set(table["voices"]) == {10}
    assert (rates["value"] - rates["baseline_value"]).tolist() == pytest.approx(
        rates["difference"].tolist(), abs=1e-5
    )
    text = (tmp_path / "compare.md").read_text()
    assert "## WER % against teacher" in text and "| 200 / 10 |" in text and "One seed" in text


def test_similarities_are_compared_too_and_higher_is_better(compared, tmp_path):
    rng, errors = np.random.default_rng(0), drawn(0, 0.05)
    base = rng.normal(0.8, 0.02, UTTERANCES)
    good, bad = base + 0.01, base + rng.normal(-0.01, 0.005, UTTERANCES)
    systems = [("teacher", base), ("good", good), ("bad", bad), ("level", base)]
    found, text = compared([scored(name, errors, sim) for name, sim in systems])
    assert found["good", "sim_prompt"].verdict(0.005) == BETTER
    assert found["bad", "sim_prompt"].verdict(0.005) == WORSE
    assert found["level", "sim_prompt"].verdict(0.005) == OPEN, "a margin is of WER"
    assert f"SIM against teacher ({base.mean():.3f})" in text
    table = pd.read_csv(tmp_path / "compare.csv").set_index(["measure", "system"])
    assert table.loc[("sim_prompt", "good"), "difference"] == pytest.approx(0.01)
    assert pd.isna(table.loc[("sim_prompt", "good"), "margin"])


def test_p_is_adjusted_over_the_systems_of_each_measure(compared):
    systems = [scored("teacher", drawn(0, 0.05))]
    systems += [scored(f"s{n}", drawn(n, 0.05 + 0.01 * n)) for n in range(1, 5)]
    found, _ = compared(systems)
    rates = [one.difference for one in found.values() if one.measure is WER]
    assert min(one.p_holm for one in rates) == pytest.approx(min(1, 4 * min(r.p for r in rates)))


def test_a_small_noisy_gap_stays_open(compared):
    found, _ = compared([scored("teacher", drawn(1, 0.05)), scored("other", drawn(2, 0.05))])
    one = found["other", "wer"]
    assert one.verdict(0.0005) == OPEN and one.difference.p > 0.05


def test_seeds_are_compared_pair_by_pair(compared):
    rng, systems = np.random.default_rng(0), []
    for seed in range(3):
        base = rng.binomial(WORDS, 0.05, UTTERANCES)
        shift = (0, 4, 8)[seed]  # the seeds disagree: the interval has to be wider
        more = base + (np.arange(UTTERANCES) % 20 < shift)
        systems += [scored("teacher", base, seed=seed), scored("student", more, seed=seed)]
    found, text = compared(systems)
    gap = found["student", "wer"].difference
    assert gap.seeds == 3 and gap.point == pytest.approx(0.2 / WORDS)
    # Little more than two degrees of freedom: 4.3 times 0.2 / sqrt(3) errors per sentence.
    assert gap.high - gap.point == pytest.approx(4.3 * 0.2 / 3**0.5 / WORDS, rel=0.1)
    assert gap.p > 0.05 and gap.detectable > gap.point and "One seed" not in text
    with pytest.raises(InputError, match="do not pair"):
        compared([*systems, scored("student", drawn(1, 0.1), seed=9)])


def test_a_baseline_of_one_seed_stands_against_each(compared):
    base = drawn(0, 0.05)
    students = [scored("student", [e + seed for e in base], seed=seed) for seed in range(2)]
    found, _ = compared([scored("teacher", base), *students])
    assert found["student", "wer"].difference.point == pytest.approx(0.5 / WORDS)


def test_utterances_without_a_rate_are_left_out_of_both(compared):
    errors = [None, *drawn(0, 0.05)[1:]]
    found, _ = compared([scored("teacher", errors), scored("student", errors)])
    gap = found["student", "wer"].difference
    assert gap.point == 0 and gap.n == UTTERANCES - 1


def test_a_system_that_was_asked_for_fewer_utterances_is_compared_on_those(compared):
    """As the recordings, of which a list may have some only."""
    base = drawn(0, 0.05)
    found, _ = compared([scored("teacher", base), scored("recordings", base[:50])])
    gap = found["recordings", "wer"].difference
    assert gap.point == 0 and gap.n == 50
    assert gap.base == pytest.approx(sum(base[:50]) / (50 * WORDS))


def test_a_metric_of_another_recipe_is_refused_and_the_others_are_compared(compared):
    other = RECIPES | {"sim": {"encoder": "wavlm", "weights": "x"}}
    systems = [
        scored("teacher", drawn(0, 0.05)),
        scored("student", drawn(1, 0.1), recipes=other, folder=Path("[runs]")),
        scored("bare", drawn(2, 0.1), recipes={"wer": RECIPES["wer"]}),
    ]
    found, text = compared(systems)
    assert ("student", "wer") in found and ("bare", "wer") in found
    assert not {key for key in found if key[1] == "sim_prompt"}
    assert "sim of [runs] and runs was measured in different ways (encoder: wavlm and ge2e" in text
    assert "runs has no recipe of it" in text


def test_values_without_a_recipe_are_not_compared(compared):
    bare = {"wer": RECIPES["wer"]}
    systems = [scored(name, drawn(0, 0.05), recipes=bare) for name in ("teacher", "student")]
    found, text = compared(systems)
    assert "sim of runs and runs: runs has no recipe of it" in text
    assert ("student", "sim_prompt") not in found


def test_of_one_system_scored_twice_the_one_like_the_baseline_is_taken(compared):
    other = RECIPES | {"wer": {"asr": "base.en", "profile": "seedtts"}}
    twice = scored("student", drawn(1, 0.1))
    systems = [
        scored("teacher", drawn(0, 0.05)),
        replace(twice, recipes=other, folder=Path("again")),
        twice,
    ]
    found, text = compared(systems)
    assert found["student", "wer"].difference.n == UTTERANCES
    assert "again: runs is scored more like teacher" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipes": {"wer": {"asr": "x"}}}, r"wer of .* different ways .asr: x and tiny.en"),
        ({"test_set": "v"}, "another test set than teacher"),
        ({"name": "teacher", "seed": 1}, "holds teacher only"),
    ],
)
def test_what_cannot_be_compared_is_refused(compared, changes, message):
    other = {"name": "student", "errors": drawn(1, 0.05)} | changes
    with pytest.raises(InputError, match=message):
        compared([scored("teacher", drawn(0, 0.05)), scored(**other)])


def test_a_baseline_that_is_not_one_evaluation_is_refused(compared):
    teacher, student = scored("teacher", drawn(0, 0.05)), scored("student", drawn(0, 0.05))
    with pytest.raises(InputError, match="there are: teacher, student"):
        compared([teacher, student], baseline="none")
    with pytest.raises(InputError, match="several test sets or in several ways"):
        compared([teacher, replace(teacher, test_set="v", seed=1), student])
    with pytest.raises(InputError, match="several test sets or in several ways"):
        compared([teacher, replace(teacher, recipes={"wer": {}}), student])


def test_lengths_have_their_own_table(compared, tmp_path):
    lengths = np.tile([2, 4, 8, 16, 32], 40)
    rng = np.random.default_rng(0)
    base = rng.binomial(lengths, 0.05)
    worse = base + (lengths > 30) * rng.binomial(lengths, 0.2)

    def system(name, errors):
        rows = [
            row(f"u{i}", int(e), int(n), f"v{i % VOICES}")
            for i, (e, n) in enumerate(zip(errors, lengths, strict=True))
        ]
        return evaluated(name, rows, recipes={"wer": RECIPES["wer"]})

    found, _ = compared([system("teacher", base), system("student", worse)])
    assert found["student", "wer"].slope.low > 0
    bins = pd.read_csv(tmp_path / "lengths.csv")
    assert list(bins["low"]) == [1, 3, 6, 11, 31] and set(bins["system"]) == {"student"}
    assert bins["wer_difference_low"].iloc[-1] > 0.05 and (bins["p_holm"] >= bins["p"]).all()
    assert set(bins["utterances"]) == {40} and set(bins["voices"]) == {2}


def test_few_voices_are_said(compared):
    def of_one_voice(name, errors):
        rows = (row(f"u{i}", e, WORDS, "v") for i, e in enumerate(errors))
        return evaluated(name, rows, recipes={"wer": RECIPES["wer"]})

    systems = [of_one_voice("teacher", drawn(0, 0.05)), of_one_voice("student", drawn(1, 0.05))]
    _, text = compared(systems)
    assert "one voice: the intervals are over its utterances" in text and "200 / 1" in text
