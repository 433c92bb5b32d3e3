"""What is shipped of the open-vocabulary system so far: a codec that is understood, and its voices."""

import json
from pathlib import Path

import pytest
import soundfile as sf
import torch

from data.corpus.open_build import TEST_VOICES, VOICES, split_voices
from data.corpus.voices import Voice
from eval.metrics.asr.whisper import WhisperASR
from eval.testset import read_meta
from mamtra.speech import load_codec
from mamtra.systems import system_of
from mamtra.text.phonemes import PhonemeTokenizer
from tests.shipped import assert_as_in_the_manifest, corpus_wer

ASSETS = Path(__file__).parents[1] / "assets"


@pytest.fixture(scope="module")
def codec():
    return load_codec(ASSETS / "open")


def test_every_file_is_the_one_in_the_manifest():
    assert_as_in_the_manifest(ASSETS / "open")


def test_its_texts_are_phonemes_and_its_voices_those_of_a_build(codec):
    assert codec.codebook_size == 4375
    assert isinstance(system_of(ASSETS / "open").load_text(ASSETS / "open"), PhonemeTokenizer)
    stored = json.loads((ASSETS / "open/voices.json").read_text())
    held_out, train = split_voices([Voice(**voice) for voice in stored["voices"]])
    assert (len(held_out), len(train)) == (TEST_VOICES, VOICES - TEST_VOICES)
    assert not set(stored["dropped_voices"]) & {*held_out, *train}


def test_whisper_understands_resynthesis_of_recordings_that_it_never_trained_on(codec):
    asr, heard = WhisperASR("tiny.en", cpu_threads=1), []
    for item in read_meta(ASSETS / "mini/meta.lst", 5):
        wave, prompt = (
            torch.from_numpy(sf.read(path, dtype="float32")[0])
            for path in (item.recording, item.prompt_wav)
        )
        again = codec.decode(codec.encode(wave), codec.voice(prompt))
        heard.append((item.text, asr.transcribe(again.numpy())))
    assert corpus_wer(heard) <= 6 / 37, heard
