"""What one bad sentence does to each way of counting errors."""

import pytest

from eval.analysis.summary import leaderboard_line
from tests.eval.analysis.score_rows import row as score_row


def test_one_loop_of_224_words_moves_the_mean_by_two_and_a_half_points():
    def row(i, errors, words):
        return score_row(str(i), errors, words, voice=str(i), guarded_errors=min(errors, words))

    rows = [row(i, 0, 8) for i in range(1088)]
    looped = [row(0, 216, 8), *rows[1:]]
    before, after = (leaderboard_line("s", {}, some) for some in (rows, looped))
    found = {name: interval.point for name, interval in after.estimates.items()}
    assert before.estimates["wer_utterance_mean"].point == 0
    assert found["wer_utterance_mean"] == pytest.approx(27 / 1088)  # 2.48 points
    assert found["wer"] == pytest.approx(216 / (8 * 1088))
    assert found["wer_mean_below_half"] == 0 and after.above_half == 1
    assert found["wer_guarded"] == pytest.approx(8 / (8 * 1088))
