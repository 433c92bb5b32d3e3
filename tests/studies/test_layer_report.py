"""Importance scores for reading: capped errors, the table, the plot."""

import pytest

from mamtra.transfer.scores import ImportanceScores, LayerScore
from studies.layer_report import capped_errors, plot_scores, score_table


def row(errors: int, words: int) -> dict:
    return {"substitutions": errors, "deletions": 0, "insertions": 0, "reference_words": words}


def test_a_loop_counts_no_more_than_its_words():
    rows = [row(1, 5), row(90, 5)]
    assert capped_errors(rows, 1.0).tolist() == [1, 5]
    assert capped_errors(rows, 2.0).tolist() == [1, 10]
    with pytest.raises(ValueError, match="above 0"):
        capped_errors(rows, 0)


def test_the_table_ranks_and_the_plot_is_reproducible(tmp_path):
    layers = (LayerScore(0.1, 0.0, 0.2), LayerScore(0.7, 0.6, 0.65), LayerScore(0.3, 0.2, 0.4))
    scores = ImportanceScores("wer", "WER", "sha", 9, {}, {}, layers)
    table = score_table(scores)
    assert list(table.columns[1].cells) == ["1", "2", "0"]
    plot_scores(scores, tmp_path / "a.svg")
    plot_scores(scores, tmp_path / "b.svg")
    svg = (tmp_path / "a.svg").read_text()
    assert svg == (tmp_path / "b.svg").read_text() and svg.count("<path") > 3
