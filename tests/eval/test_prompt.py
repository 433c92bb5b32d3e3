"""What somebody brings along as a prompt: speech of any rate is taken, anything else is one message."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from eval.prompt import read_prompt
from eval.store.files import InputError

VOICE = Path(__file__).parents[2] / "assets/mini/prompts/prompt-v24-0.flac"


def speech(seconds: float) -> np.ndarray:
    wave, _ = soundfile.read(VOICE, dtype="float32")
    return np.tile(wave, 16)[: int(seconds * 16_000)]


def chord(seconds: float) -> np.ndarray:
    t = np.arange(int(seconds * 16_000)) / 16_000
    notes = [np.sin(2 * np.pi * hz * t) for hz in (220.0, 277.2, 329.6, 440.0)]
    return 0.1 * np.sum(notes, axis=0) * np.exp(-3 * (t % 0.5))


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (speech(0.2), r"is 0\.2 s long: give 1 to 30 s"),
        (speech(60), r"is 60\.0 s long: give 1 to 30 s"),
        (np.zeros(48_000), "is silent"),
        (np.zeros(0), "has no samples"),
        (0.1 * np.random.default_rng(0).standard_normal(64_000), "nobody speaks"),
        (chord(4), "nobody speaks"),
        (np.append(speech(0.5), np.zeros(32_000)), "not long enough"),
    ],
    ids=["short", "long", "silence", "empty", "noise", "music", "mostly silence"],
)
def test_what_is_no_prompt_is_one_message(wave, message, tmp_path):
    soundfile.write(tmp_path / "p.wav", wave, 16_000)
    with pytest.raises(InputError, match=f"^the prompt .*{message}|^in the prompt .*{message}"):
        read_prompt(tmp_path / "p.wav")


def test_files_that_are_no_sound(tmp_path):
    (tmp_path / "p.wav").write_text("no sound")
    for name, message in (("p.wav", "cannot be read as WAV"), ("none.wav", "is not there")):
        with pytest.raises(InputError, match=message):
            read_prompt(tmp_path / name)


def test_stereo_at_48_khz_is_taken(tmp_path):
    wave = soxr.resample(speech(3), 16_000, 48_000)
    soundfile.write(tmp_path / "p.ogg", np.stack([wave, 0.5 * wave], axis=1), 48_000)
    audio = read_prompt(tmp_path / "p.ogg")
    assert audio.wave is not None and audio.wave.shape == (48_000,)
    assert np.corrcoef(audio.wave, speech(3))[0, 1] > 0.9
