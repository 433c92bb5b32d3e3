"""What several tests of the evaluation start from."""

import pytest
import soundfile

from tests.eval.scored_world import RATE_HZ, tone


@pytest.fixture
def world(tmp_path):
    soundfile.write(tmp_path / "low.wav", tone(200), RATE_HZ)
    soundfile.write(tmp_path / "high.wav", tone(900), RATE_HZ)
    wavs = tmp_path / "out" / "wavs"
    wavs.mkdir(parents=True)
    for name, hz in (("a", 200), ("b", 900), ("c", 200)):
        soundfile.write(wavs / f"{name}.wav", tone(hz), RATE_HZ)
    return tmp_path
