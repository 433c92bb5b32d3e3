"""One rule per number: what of a row it reads, over which rows, and how it is written."""

import pytest

from eval.analysis.measures import WER, caveat, measures_of, voices_of
from eval.metrics.registry import METRICS
from tests.eval.analysis.score_rows import row

BY_NAME = {measure.name: measure for measure in measures_of(())}


def rows(scores, **changes):
    return [
        row(f"u{i}", 1, voice=f"v{i % 4}", sim_prompt=score, **changes)
        for i, score in enumerate(scores)
    ]


def test_a_mean_is_of_the_rows_that_have_it_and_says_how_many():
    found = BY_NAME["sim_prompt"].estimate(rows([0.8, None, 0.9, 0.7, None, 0.8, 0.9, 0.9]))
    assert found.point == pytest.approx(5 / 6) and (found.n, found.clusters) == (6, 4)
    assert found.low < found.point < found.high
    assert BY_NAME["mos"].estimate(rows([0.8])) is None, "a column that no row has"


def test_rates_count_words_and_means_count_utterances():
    some = [row("a", 2, words=4), row("b", 0, words=12, voice="w"), row("c", None, words=0)]
    assert WER.estimate(some).point == pytest.approx(2 / 16)
    assert BY_NAME["wer_utterance_mean"].estimate(some).point == pytest.approx(0.25)
    assert BY_NAME["perfect"].estimate(some).point == pytest.approx(0.5)
    assert WER.estimate(some).n == 2, "without reference words there is no rate"


def test_every_measure_that_may_be_compared_has_a_paired_difference():
    values = {"sim_prompt": 0.8, "sim_other": 0.5, "sim_recording": 0.7, "mos": 3.0}
    values |= {"lufs": -20.0, "words_per_s": 2.5, "agreement": 0.5}
    base = [row(f"u{i}", i % 3, voice=f"v{i % 4}", **values) for i in range(40)]
    more = {name: value + 0.25 for name, value in values.items()}
    ours = [row(f"u{i}", i % 3 + 1, voice=f"v{i % 4}", **more) for i in range(40)]
    gaps = {m.name: m.difference([(ours, base)]) for m in BY_NAME.values() if m.paired}
    for name in values:
        assert gaps[name].point == pytest.approx(0.25) and gaps[name].n == 40, name
    assert gaps["wer"].point == pytest.approx(1 / 8) == gaps["wer_utterance_mean"].point
    assert gaps["perfect"].point < 0 and not BY_NAME["wer_mean_below_half"].paired


def test_a_difference_is_over_the_utterances_that_both_have_in_every_seed():
    base = rows([0.8, 0.8, 0.8, 0.8, 0.8])
    first, second = rows([0.9, None, 0.9, 0.9, 0.9]), rows([0.9, 0.1, 0.9, 0.9, 0.9])[:4]
    found = BY_NAME["sim_prompt"].difference([(first, base), (second, base)])
    assert found.n == 3 and found.seeds == 2 and found.point == pytest.approx(0.1)
    assert found.base == pytest.approx(0.8)
    assert BY_NAME["sim_prompt"].difference([(first, rows([None] * 5))]) is None
    assert BY_NAME["sim_prompt"].difference([(first, [])]) is None


def test_every_column_of_the_registry_is_a_measure_of_its_metric():
    for metric in METRICS:
        for column in metric.columns:
            found = BY_NAME[column.name]
            assert (found.metric, found.header, found.better) == (
                *(metric.name, column.header, column.better),
            )


def test_order_does_not_pair_rows_but_names_do():
    ours = [row("a", 3), row("b", 0, voice="w")]
    assert WER.difference([(ours, ours[::-1])]).point == 0


def test_the_wer_of_a_further_recogniser_is_a_measure_of_its_own():
    counts = {"substitutions": 1, "deletions": 1, "insertions": 0, "reference_words": 8}
    some = [row(f"u{i}", 0, voice=f"v{i}", hearings={"base.en": counts}) for i in range(3)]
    names = [measure.name for measure in measures_of(some)]
    assert names == [*BY_NAME, "wer:base.en"]
    found = measures_of(some)[-1]
    assert found.metric == "wer:base.en" and found.estimate(some).point == pytest.approx(2 / 8)


def test_numbers_are_written_in_their_units_and_the_unknown_as_a_dash():
    found = WER.estimate([row(f"u{i}", i % 2, voice=f"v{i % 8}") for i in range(16)])
    assert WER.interval_text(found).startswith("6.25 [")
    gap = WER.difference([([row("u", 3)], [row("u", 0)])])
    assert WER.interval_text(gap) == "+37.50 [–, –]", "one utterance"
    assert BY_NAME["mos"].gap_text(-0.5) == "-0.50"


def test_clusters_are_voices_and_few_are_said():
    assert voices_of(rows([1, 1])) == ["v0", "v1"]
    with pytest.raises(KeyError, match="voice"):
        voices_of([{"prompt": "p"}])
    assert "one voice" in caveat(1) and "5 voices" in caveat(5) and caveat(6) == ""
