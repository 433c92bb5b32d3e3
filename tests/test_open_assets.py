"""What ships of the open-vocabulary system: its files, its codec, its held-out sentences, and that it reads."""

import json
from pathlib import Path

import pandas as pd
import pytest
import soundfile as sf
import torch

from data.corpus.open_build import (
    SENTENCES_PER_TEST_VOICE,
    TEST_VOICES,
    VOICES,
    split_voices,
)
from data.corpus.open_split import ngrams, words_of
from data.corpus.voices import Voice
from eval.metrics.asr.whisper import WhisperASR
from eval.testset import read_meta
from mamtra.speech import load_codec
from mamtra.systems import system_of
from mamtra.text.phonemes import PhonemeTokenizer
from mamtra.tts import Synthesizer
from tests.shipped import assert_as_in_the_manifest, assert_tokens_of_recordings, corpus_wer

ASSETS = Path(__file__).parents[1] / "assets"


@pytest.fixture(scope="module")
def codec():
    return load_codec(ASSETS / "open")


def test_every_file_is_the_one_in_the_manifest():
    assert_as_in_the_manifest(ASSETS / "open")


@pytest.fixture(scope="module")
def table():
    return pd.read_parquet(ASSETS / "open/tokens.parquet")


def test_held_out_sentences_share_neither_voices_nor_five_words_in_a_row_with_training(table):
    train = table[table.split == "train"]
    known = set().union(*map(ngrams, set(train.text)))
    held_out = table[table.split.isin(["test", "prompt", "valid"])]
    assert not [text for text in held_out.text if ngrams(text) & known]
    assert not set(table[table.split.isin(["test", "prompt"])].voice) & set(train.voice)


def test_two_in_five_test_sentences_have_a_word_that_is_in_no_training_text(table):
    known = {word for text in table[table.split == "train"].text for word in words_of(text)}
    test = table[table.split == "test"].text
    assert len(test) == TEST_VOICES * SENTENCES_PER_TEST_VOICE
    assert sum(not known.issuperset(words_of(text)) for text in test) / len(test) >= 0.38


def test_the_token_table_is_what_the_codec_makes_of_the_recordings():
    assert_tokens_of_recordings(ASSETS / "open", read_meta(ASSETS / "open/meta.lst", 5))


# None of them is of the corpus.
TYPED = (
    "He forgot his umbrella on the train again.",
    "Can you tell me where the library is?",
    "Please call me when you get home tonight.",
    "A black cat was sleeping under the table.",
)


def test_the_teacher_reads_sentences_that_somebody_typed():
    asr, said = WhisperASR("tiny.en", cpu_threads=1), []
    speaker = Synthesizer.load(ASSETS / "open/teacher", ASSETS / "open")
    for item, text in zip(read_meta(ASSETS / "open/meta.lst", 4), TYPED, strict=True):
        prompt, _ = sf.read(item.prompt_wav, dtype="float32")
        speech = speaker.synthesize(text, item.prompt_text, torch.from_numpy(prompt), seed=0)
        said.append((text, asr.transcribe(speech.wave.numpy())))
    # A teacher that does not read has half of the words wrong and more.
    assert corpus_wer(said) <= 0.3, said


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
