"""Durations of text tokens from phoneme times, and the batches that MambaVoiceCloning learns from."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from data.codec_features import CodecCorpus
from data.corpus.phoneme_times import merge
from data.mvc_align import border_scores
from data.mvc_batches import MVCBatches, MVCRecordings
from data.mvc_durations import COLUMNS, durations, token_durations, with_silence
from mamtra.speech.features import N_MELS
from mamtra.text.phonemes import PhonemeTokenizer

PHONEMES = ["^", "k", "ˈ", "æ", "t", " ", "s", "ˈ", "æ", "t", ".", "$"]
ENDS = [1600, 3200, 3360, 6400, 8000, 8160, 9600, 9760, 12800, 14400, 15000, 16000]


def test_each_token_gets_the_frames_of_its_sound_and_the_first_the_silence():
    tokens = with_silence("cat sat.")
    found = token_durations(tokens, *merge(PHONEMES, ENDS), 100)
    assert found.sum() == 100
    assert dict(zip(tokens[:4], found[:4].tolist(), strict=True)) == {
        " ": 10,
        "K": 10,
        "AE1": 20,
        "T": 10,
    }
    assert found.tolist()[-1] == 10  # the full stop has the silence at the end


def written_corpus(folder, n=3, **changes):
    rows = [(f"u{i}", "train", "cat sat.", f"v{i % 2}", f"wavs/u{i}.wav", 1.0) for i in range(n)]
    names = ["utterance", "split", "text", "voice", "wav", "duration_s"]
    pd.DataFrame(rows, columns=names).to_csv(folder / "manifest.csv", index=False)
    timed = {
        "utterance": [f"u{i}" for i in range(n)],
        "phonemes": [PHONEMES] * n,
        "ends": [ENDS] * n,
    }
    pd.DataFrame(timed | changes).to_parquet(folder / "phonemes.parquet")


def test_durations_of_a_corpus_sum_to_its_frames_and_a_slice_is_its_first(tmp_path):
    written_corpus(tmp_path)
    made = durations(tmp_path, tmp_path / "d.parquet", limit=2)
    assert list(made.columns) == COLUMNS and list(made["utterance"]) == ["u0", "u1"]
    assert [int(row.sum()) for row in made["durations"]] == [100, 100]
    assert made["ids"][0].tolist() == [0, *PhonemeTokenizer().encode("cat sat.")]
    assert len(pd.read_parquet(tmp_path / "d.parquet")) == 2


def test_a_corpus_without_times_says_how_to_rebuild(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"manifest.*data\.corpus\.open_build"):
        durations(tmp_path, tmp_path / "d.parquet")
    written_corpus(tmp_path)
    (tmp_path / "phonemes.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"phonemes\.parquet.*mvc_aligner"):
        durations(tmp_path, tmp_path / "d.parquet")
    written_corpus(tmp_path, utterance=["u0", "u1", "other"])
    with pytest.raises(ValueError, match="no times of u2"):
        durations(tmp_path, tmp_path / "d.parquet")
    written_corpus(tmp_path, phonemes=[PHONEMES, ["☃"] * 12, PHONEMES])
    with pytest.raises(ValueError, match="u1: phoneme '☃'"):
        durations(tmp_path, tmp_path / "d.parquet")


@pytest.fixture
def corpus() -> CodecCorpus:
    """Ten recordings of two voices, of 20 to 56 frames; each mel holds its recording's number."""
    lengths = [20 + 4 * i for i in range(10)]
    first = np.cumsum([0, *lengths[:-1]])
    index = pd.DataFrame(
        {
            "utterance": [f"u{i}" for i in range(10)],
            "split": ["train"] * 8 + ["valid"] * 2,
            "text": ["cat sat."] * 10,
            "voice": [f"v{i % 2}" for i in range(10)],
            "n_frames": lengths,
            "first_frame": first,
        }
    )
    numbers = np.repeat(np.arange(10), lengths)
    mel = np.repeat(numbers[:, None], N_MELS, axis=1).astype(np.float16)
    f0 = np.where(numbers % 2, 100.0, 0.0).astype(np.float32)
    voices = {f"v{k}": np.eye(4, dtype=np.float32)[k : k + 2] for k in range(2)}
    return CodecCorpus(index, np.zeros(0, np.int16), mel, f0, voices)


@pytest.fixture
def table(corpus, tmp_path):
    """A durations file of that corpus: all frames are the first token's."""
    ids = np.array([0, *PhonemeTokenizer().encode("cat sat.")])
    rows = [
        (u, ids, np.array([n, *[0] * (len(ids) - 1)]), "times")
        for u, n in zip(corpus.index["utterance"], corpus.index["n_frames"], strict=True)
    ]
    path = tmp_path / "durations.parquet"
    pd.DataFrame(rows, columns=COLUMNS).to_parquet(path)
    return path


def test_a_row_can_be_several_recordings_of_one_voice(corpus, table):
    recordings = MVCRecordings(corpus, table, "train")
    batch = recordings.batch([[0, 2], [1]], [0, 1], mel=True)
    n = len(with_silence("cat sat."))
    assert batch.n_ids.tolist() == [2 * n, n] and batch.n_frames.tolist() == [48, 24]
    assert batch.durations.sum(dim=1).tolist() == [48, 24]
    assert batch.utterances == ("u0+u2", "u1") and batch.n_tokens == 72
    assert batch.voiced[1, :24].all() and not batch.voiced[0].any()
    assert torch.equal(batch.voices.embedding, torch.eye(4)[[0, 2]])
    assert batch.voices.mel is not None and batch.voices.mel.shape[0] == 2
    assert float(batch.mel[0, 30, 0]) != float(batch.mel[0, 0, 0])


def test_epochs_have_every_recording_once_and_follow_from_the_seed(corpus, table):
    recordings = MVCRecordings(corpus, table, "train")
    batches = MVCBatches(recordings, 2.0, joined=0.5, seed=1)
    first, second = batches.epoch(0), batches.epoch(1)
    assert first == batches.epoch(0) != second
    rows = [row for members, _ in first for row in members]
    assert sorted(number for row in rows for number in row) == list(range(8))
    assert any(len(row) > 1 for row in rows)
    for row in rows:
        assert len({recordings.table["voice"].iloc[i] for i in row}) == 1


def test_a_resumed_run_and_several_ranks_see_the_same_batches(corpus, table):
    recordings = MVCRecordings(corpus, table, "train")

    def names(n, **place):
        batches = iter(MVCBatches(recordings, 1.0, 0.0, 3, **place))
        return [next(batches).utterances for _ in range(n)]

    whole = names(8)
    assert names(3, start=5) == whole[5:]
    assert [names(4, rank=r, world=2) for r in (0, 1)] == [whole[0::2], whole[1::2]]


def test_bad_durations_and_settings_are_named(corpus, table, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.mvc_durations"):
        MVCRecordings(corpus, tmp_path / "none.parquet", "train")
    with pytest.raises(ValueError, match="no recording of split 'test'"):
        MVCRecordings(corpus, table, "test")
    recordings = MVCRecordings(corpus, table, "train")
    with pytest.raises(ValueError, match=r"the longest recording has 0\.5 s"):
        MVCBatches(recordings, 0.3, 0.0, 0)
    with pytest.raises(ValueError, match=r"batch\.joined=2"):
        MVCBatches(recordings, 3.0, 2, 0)
    other = corpus.index.assign(n_frames=corpus.index["n_frames"] + 4)
    with pytest.raises(ValueError, match="another corpus or aligner"):
        MVCRecordings(replace(corpus, index=other), table, "train")
    pd.read_parquet(table).drop(columns="source").to_parquet(table)
    with pytest.raises(ValueError, match="no column source"):
        MVCRecordings(corpus, table, "train")


def test_without_times_the_tokens_are_there_and_durations_are_not(corpus):
    recordings = MVCRecordings(corpus, None, "train")
    batch = recordings.batch([[0], [1]], [0, 0], mel=False)
    assert (
        int(batch.durations.sum()) == 0
        and batch.n_ids.tolist() == [len(with_silence("cat sat."))] * 2
    )


def test_borders_are_scored_against_true_times():
    ids = np.array([0, *PhonemeTokenizer().encode("cat sat.")])
    true = np.full(len(ids), 4)
    mine = true.copy()
    mine[1], mine[2] = 6, 2  # the border between two sounds of one word: 20 ms off
    frames = [pd.DataFrame([("u", ids, d, "x")], columns=COLUMNS) for d in (mine, true)]
    found = border_scores(*frames)
    assert found["token_border_ms"] == pytest.approx(20 / (len(ids) - 1))
    assert found["word_border_ms"] == 0 and found["word_border_within_50_ms"] == 1
    with pytest.raises(ValueError, match="no recording in common"):
        border_scores(frames[0], frames[1].assign(utterance="v"))
