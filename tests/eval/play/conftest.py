"""A studio of two untrained systems that are heard by a stand-in."""

from pathlib import Path

import pytest

from eval.metrics.setup import Setup
from eval.metrics.text.profiles import PROFILES
from eval.play.hearing import Listener
from eval.play.session import Studio
from eval.play.systems import Systems, find_models
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import save_lm
from mamtra.lm.speech_lm import SpeechLM
from mamtra.text.characters import CharacterTokenizer
from tests.eval.scored_world import SETTINGS, CountingASR

VOICE = Path(__file__).parents[3] / "assets/mini/prompts/prompt-v24-0.flac"


def student(folder: Path, codes: int = 1000) -> Path:
    """An untrained student with layers of both kinds."""
    sizes = BackboneSizes(d_model=16, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=16)
    lm = SpeechLM(sizes, ("attention", "mamba"), CharacterTokenizer().vocab_size, codes)
    return save_lm(folder, lm, {})


@pytest.fixture
def runs(tmp_path):
    """Two students of the tiny world's system, one of another, and one that is not whole."""
    student(tmp_path / "runs/b/student")
    student(tmp_path / "runs/grid/1to1/student")
    student(tmp_path / "runs/other/student", codes=77)
    (student(tmp_path / "runs/broken/student") / "model.safetensors").unlink()
    return tmp_path / "runs"


@pytest.fixture
def asr():
    return CountingASR("go on")


@pytest.fixture
def studio(tiny_world, runs, tmp_path, asr):
    systems = Systems(find_models(None, tiny_world, runs), tiny_world, "cpu")
    # Speech that is cut is found by its pauses, which the noise of untrained systems has none of.
    asr.whole_clips = True
    listener = Listener(Setup(SETTINGS, PROFILES["whisper"], {"stand-in": asr}, None, None))
    # As many tokens as characters: an untrained system does not end by itself.
    return Studio(systems, listener, tmp_path / "spoken", {"min_ratio": 1.0, "max_ratio": 1.0})
