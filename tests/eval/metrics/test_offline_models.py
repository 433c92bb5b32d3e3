"""Speaker encoder and MOS predictor with the weights that their wheels carry, on the shipped recordings."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile

from eval.leaderboard import leaderboard_line
from eval.metric_models import load_mos, load_speaker
from eval.metrics.audio import read_audio

PROMPTS = sorted((Path(__file__).parents[3] / "assets/mini/prompts").glob("*.flac"))
pytestmark = pytest.mark.weights


def wave_of(path: Path) -> np.ndarray:
    wave = read_audio(path).wave
    assert wave is not None
    return wave


@pytest.fixture(scope="module")
def embeddings():
    speaker = load_speaker("ge2e", "cpu")
    assert speaker is not None
    return {path.stem: speaker.embed(wave_of(path)) for path in PROMPTS[:8]}


def test_a_clip_is_like_itself_and_more_like_its_own_voice_than_another(embeddings):
    for vector in embeddings.values():
        assert vector @ vector == pytest.approx(1, abs=1e-4)
    own, others = [], []
    for a, b in combinations(embeddings, 2):
        same = a.rsplit("-", 1)[0] == b.rsplit("-", 1)[0]
        (own if same else others).append(float(embeddings[a] @ embeddings[b]))
    assert len(own) == 4 and np.mean(own) > np.mean(others) + 0.05


def test_neither_order_nor_company_changes_an_embedding(embeddings):
    speaker = load_speaker("ge2e", "cpu")
    for path in reversed(PROMPTS[:8]):
        again = speaker.embed(wave_of(path))
        np.testing.assert_allclose(again, embeddings[path.stem], atol=1e-6)


def test_stereo_is_scored_as_mono(tmp_path):
    samples, rate_hz = soundfile.read(PROMPTS[0])
    soundfile.write(tmp_path / "two.wav", np.stack([samples, samples], axis=1), rate_hz, "FLOAT")
    soundfile.write(tmp_path / "one.wav", samples, rate_hz, "FLOAT")
    speaker = load_speaker("ge2e", "cpu")
    one, two = (speaker.embed(wave_of(tmp_path / f"{name}.wav")) for name in ("one", "two"))
    assert one @ two == pytest.approx(1, abs=1e-5)


def test_distillmos_repeats_itself_and_prefers_clean_speech():
    mos, wave = load_mos("distillmos", "cpu"), wave_of(PROMPTS[0])
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(wave)).astype(np.float32)
    clean, noisy = mos.score(wave), mos.score(wave + noise)
    assert mos.score(wave) == clean and 1 < noisy < clean < 5


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
