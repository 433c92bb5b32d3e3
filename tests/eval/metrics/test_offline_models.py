"""Speaker encoder and MOS predictor with the weights that their wheels carry, on the shipped recordings."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile

from eval.metrics.audio import read_audio
from eval.metrics.mos.load import load_mos
from eval.metrics.speaker.load import load_speaker

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
