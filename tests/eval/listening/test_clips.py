"""The clips of a listening test: equally loud, unclipped, and silent about where they come from."""

import numpy as np
import pyloudnorm
import pytest
import soundfile

from eval.listening.clips import Sound, loudness_lufs, true_peak_dbtp, write_clips
from eval.store.files import InputError

RATE_HZ = 24_000


def voice(level: float, seconds: float = 2.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Noise with the slow swell of syllables."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    noise = np.random.default_rng(99).standard_normal(len(t))
    return level * noise * (1.2 + np.sin(2 * np.pi * 4 * t)) / 4


def test_loud_and_quiet_clips_become_equally_loud(tmp_path):
    for name, level in (("loud", 0.5), ("quiet", 0.01)):
        soundfile.write(tmp_path / f"{name}.wav", voice(level), RATE_HZ)
    sounds = {name: Sound(tmp_path / f"{name}.wav") for name in ("loud", "quiet")}
    sounds["noisy"] = Sound(tmp_path / "quiet.wav", noisy=True)
    written = write_clips(sounds, tmp_path / "clips")
    assert written.lufs == -23.0 and written.sample_rate_hz == RATE_HZ
    for name in sounds:
        wave, rate_hz = soundfile.read(tmp_path / f"clips/{name}.flac")
        # 16 bits leave a hundredth of a decibel.
        assert pyloudnorm.Meter(rate_hz).integrated_loudness(wave) == pytest.approx(-23, abs=0.05)
    assert {path.name for path in (tmp_path / "clips").iterdir()} == {f"{n}.flac" for n in sounds}


def test_a_peak_lowers_all_clips_instead_of_being_cut(tmp_path):
    click = voice(0.01)
    click[1000] = 0.9  # 45 dB above the speech
    soundfile.write(tmp_path / "click.wav", click, RATE_HZ)
    soundfile.write(tmp_path / "plain.wav", voice(0.3), RATE_HZ)
    sounds = {name: Sound(tmp_path / f"{name}.wav") for name in ("click", "plain")}
    written = write_clips(sounds, tmp_path / "clips")
    assert written.lufs < -30
    waves = {name: soundfile.read(tmp_path / f"clips/{name}.flac")[0] for name in sounds}
    assert true_peak_dbtp(waves["click"], RATE_HZ) == pytest.approx(-1, abs=0.1)
    levels = [loudness_lufs(wave, RATE_HZ) for wave in waves.values()]
    assert levels == pytest.approx([written.lufs] * 2, abs=0.05)


def test_the_sample_rate_does_not_tell_the_systems_apart(tmp_path):
    for rate_hz in (16_000, 96_000):
        soundfile.write(tmp_path / f"{rate_hz}.wav", voice(0.2, rate_hz=rate_hz), rate_hz)
    sounds = {f"c{rate}": Sound(tmp_path / f"{rate}.wav") for rate in (16_000, 96_000)}
    assert write_clips(sounds, tmp_path / "clips").sample_rate_hz == 48_000
    for name in sounds:
        found = soundfile.info(tmp_path / f"clips/{name}.flac")
        assert found.samplerate == 48_000 and found.duration == pytest.approx(2.0, abs=0.01)


def test_noise_hides_the_words(tmp_path):
    soundfile.write(tmp_path / "a.wav", voice(0.2), RATE_HZ)
    path = tmp_path / "a.wav"
    write_clips({"plain": Sound(path), "noisy": Sound(path, noisy=True)}, tmp_path / "c")
    plain, noisy = (soundfile.read(tmp_path / f"c/{name}.flac")[0] for name in ("plain", "noisy"))
    # At a signal to noise ratio of -5 dB the clip still holds 1 / (1 + 3.2) of its power.
    share = np.corrcoef(plain, noisy)[0, 1] ** 2
    assert share == pytest.approx(1 / (1 + 10**0.5), rel=0.05)


@pytest.mark.parametrize("seconds", [0.05, 0.4, 0.41])
def test_clips_shorter_than_a_gating_block_have_a_loudness(seconds):
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    # BS.1770: a full-scale sine of 997 Hz in one channel has -3.01 LKFS.
    sine = np.sin(2 * np.pi * 997 * t)
    assert loudness_lufs(sine, RATE_HZ) == pytest.approx(-3.01, abs=0.3)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot be read"), (b"RIFF", "cannot be read"), (None, "cannot be read")],
)
def test_files_that_are_no_speech_are_named(tmp_path, content, message):
    path = tmp_path / "[hifi] a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"\[hifi\] a.wav {message}"):
        write_clips({"x": Sound(path)}, tmp_path / "c")


@pytest.mark.parametrize(
    ("wave", "message"), [(np.zeros(9000), "too quiet"), (np.zeros(0), "no samples")]
)
def test_clips_without_a_loudness_are_named(tmp_path, wave, message):
    soundfile.write(tmp_path / "a.wav", wave, RATE_HZ)
    with pytest.raises(InputError, match=message):
        write_clips({"x": Sound(tmp_path / "a.wav")}, tmp_path / "c")
