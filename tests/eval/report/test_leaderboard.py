"""What one bad sentence does to each way of counting errors."""

import pytest

from eval.analysis.summary import leaderboard_line


def test_one_loop_of_224_words_moves_the_mean_by_two_and_a_half_points():
    def row(i, errors, words):
        counts = {"substitutions": 0, "deletions": 0, "insertions": errors}
        rest = dict.fromkeys(
            (
                "sim_prompt",
                "sim_other",
                "sim_recording",
                "mos",
                "n_tokens",
                "lm_s",
                "rtf",
                "hit_max",
            )
        )
        fixed = {"utterance": str(i), "prompt": str(i), "status": "ok", "flags": [], **rest}
        guarded = {"guarded_errors": min(errors, words), "reference_words": words}
        return {**fixed, **counts, **guarded, "wer": errors / words}

    rows = [row(i, 0, 8) for i in range(1088)]
    looped = [row(0, 216, 8), *rows[1:]]
    before, after = (leaderboard_line("s", {}, some) for some in (rows, looped))
    assert before.wer_mean == 0 and after.wer_mean == pytest.approx(27 / 1088)  # 2.48 points
    assert after.wer.point == pytest.approx(216 / (8 * 1088))
    assert after.wer_mean_below_half == 0 and after.above_half == 1
    assert after.wer_guarded == pytest.approx(8 / (8 * 1088))
