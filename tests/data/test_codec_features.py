"""Features of recordings: the cache of a corpus that grows."""

import sys

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from data import codec_features
from data.codec_features import Joined, prepare
from data.corpus.phoneme_times import SYMBOLS
from tests.data.in_this_process import in_this_process


class FakeEncoder:
    calls = 0

    def __call__(self, wave):
        FakeEncoder.calls += 1
        return wave.new_full((4,), float(len(wave)))


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(codec_features, "worker_processes", in_this_process)
    monkeypatch.setattr(codec_features, "_one_thread", lambda: None)  # of this process
    monkeypatch.setattr(codec_features, "_encoder", FakeEncoder)
    FakeEncoder.calls = 0
    return tmp_path


def write(folder, rows):
    """Half-second tones of (name, voice); the first quarter of a second is an "a", the rest silence."""
    seconds = np.arange(8000) / 16_000
    table, timed = [], []
    for name, voice in rows:
        sf.write(folder / f"{name}.wav", 0.3 * np.sin(2 * np.pi * 150 * seconds), 16_000)
        table.append((name, "train", "oh.", voice, f"{name}.wav", 0.5))
        timed.append((name, ["a", "$"], np.array([4000, 8000])))
    columns = ["utterance", "split", "text", "voice", "wav", "duration_s"]
    pd.DataFrame(table, columns=columns).to_csv(folder / "manifest.csv", index=False)
    columns = ["utterance", "phonemes", "ends"]
    pd.DataFrame(timed, columns=columns).to_parquet(folder / "phonemes.parquet")


def test_without_praats_package_the_error_says_what_to_install(corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "parselmouth", None)
    write(corpus, [("u0", "v0")])
    with pytest.raises(
        ModuleNotFoundError, match=r"parselmouth is needed .* pip install -e '\.\[mvc\]'"
    ):
        prepare(corpus)


def test_frames_of_a_recording_have_mels_pitch_and_phonemes(corpus):
    write(corpus, [("u0", "v0")])
    features = prepare(corpus)
    row = features.index.iloc[0]
    assert row.n_frames == 52 and row.n_samples == 8320, "zero-padded to whole tokens"
    assert features.mel[0:52].shape == (52, 80)
    assert 140 < np.median(features.f0[10:40]) < 160
    assert features.phones is not None
    spoken = features.phones[0:52].tolist()
    assert spoken == [SYMBOLS.index("a")] * 25 + [0] * 27


def test_a_grown_corpus_only_computes_what_is_new(corpus):
    write(corpus, [("u0", "v0"), ("u1", "v0")])
    prepare(corpus)
    assert FakeEncoder.calls == 2
    prepare(corpus)
    write(corpus, [("u0", "v0"), ("u1", "v0"), ("u2", "v0"), ("u3", "v1")])
    (corpus / "u0.wav").unlink()  # it is not read again
    features = prepare(corpus)
    assert FakeEncoder.calls == 3, "embeddings of the voice that is new"
    assert list(features.index["utterance"]) == ["u0", "u1", "u2", "u3"]
    assert features.index["first_frame"].tolist() == [0, 52, 104, 156]
    assert features.voices.keys() == {"v0", "v1"}


def test_a_slice_that_crosses_parts_is_an_error():
    joined = Joined([np.arange(4), np.arange(4, 10)])
    assert len(joined) == 10 and joined[4:10].tolist() == [4, 5, 6, 7, 8, 9]
    for wanted in (slice(3, 5), slice(8, 11)):
        with pytest.raises(IndexError, match="within one part"):
            joined[wanted]


def test_without_phoneme_times_there_are_no_phonemes(corpus):
    write(corpus, [("u0", "v0")])
    (corpus / "phonemes.parquet").unlink()
    assert prepare(corpus).phones is None


def test_a_missing_manifest_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.corpus\.build"):
        prepare(tmp_path)
