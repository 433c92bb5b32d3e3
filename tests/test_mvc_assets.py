"""The shipped MambaVoiceCloning model: its files are what the manifest says, and it speaks."""

from pathlib import Path

import pytest
import soundfile as sf
import torch

from data.mvc_assets import MAX_BYTES
from data.mvc_frames import read_voices, rows_of
from eval.metrics.asr.whisper import WhisperASR
from eval.testset import read_meta
from mamtra.mvc.folder import read_mvc
from mamtra.mvc_tts import MVCSynthesizer
from tests.shipped import OPEN, assert_as_in_the_manifest, corpus_wer

ASSETS = Path(__file__).parents[1] / "assets/mvc"


@pytest.fixture(scope="module")
def synthesizer():
    return MVCSynthesizer.load(ASSETS, OPEN)


@pytest.fixture(scope="module")
def items():
    return read_meta(OPEN / "meta.lst", 5)


def test_every_file_is_the_one_in_the_manifest():
    assert_as_in_the_manifest(ASSETS, MAX_BYTES)


def test_durations_and_voices_are_those_of_shipped_tokens():
    rows = rows_of(OPEN, ASSETS)
    assert rows["split"].value_counts().to_dict() == {"train": 1500, "valid": 100}
    assert set(rows["voice"]) == set(read_voices(ASSETS / "voices.npz"))


def test_the_model_is_what_the_documents_say_and_holds_no_aligner():
    about = read_mvc(ASSETS)
    assert about["arm"] == "mvc" and about["conditioning_parameters"] < 0.65 * about["parameters"]
    assert not (ASSETS / "aligner").exists()


def test_it_says_what_is_written(synthesizer, items):
    asr, said = WhisperASR("tiny.en", cpu_threads=1), []
    for item in items:
        prompt, _ = sf.read(item.prompt_wav, dtype="float32")
        voice = synthesizer.voice(torch.from_numpy(prompt))
        wave = synthesizer.speak(item.text, voice, seed=0).wave
        said.append((item.text, asr.transcribe(wave.numpy())))
    assert corpus_wer(said) < 0.4, said


def test_a_sentence_is_as_long_as_its_words(synthesizer, items):
    prompt, _ = sf.read(items[0].prompt_wav, dtype="float32")
    voice = synthesizer.voice(torch.from_numpy(prompt))
    short, long = (synthesizer.speak(t, voice, seed=0).wave for t in ("yes.", "yes, we shall see."))
    assert 0.3 * 16_000 < len(short) < len(long) < 4 * 16_000
    fast = synthesizer.speak("yes, we shall see.", voice, seed=0, pace=2.0).wave
    assert len(fast) < 0.65 * len(long)


@pytest.mark.parametrize("text", ["", "\U0001f600", "你好"])
def test_what_cannot_be_said_is_one_clear_error(synthesizer, items, text):
    prompt, _ = sf.read(items[0].prompt_wav, dtype="float32")
    voice = synthesizer.voice(torch.from_numpy(prompt))
    with pytest.raises(ValueError):
        synthesizer.speak(text, voice, seed=0)


def test_a_silent_prompt_is_refused(synthesizer):
    with pytest.raises(ValueError):
        synthesizer.voice(torch.zeros(16_000))
