"""Durations of text tokens from phoneme times, and the batches that MambaVoiceCloning learns from."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from data import mvc_align
from data.codec_features import CodecCorpus
from data.corpus.phoneme_times import merge
from data.mvc_align import border_scores
from data.mvc_batches import MVCBatches, MVCRecordings
from data.mvc_durations import COLUMNS, durations, token_durations, with_silence
from mamtra.mvc.aligner import Aligner, AlignerSizes, save_aligner
from mamtra.speech.features import N_MELS
from mamtra.text.phonemes import SYMBOLS, PhonemeTokenizer

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
    texts = corpus.index.assign(text="sat cat.")  # as many tokens, others
    with pytest.raises(ValueError, match="of u0 are not those of its text"):
        MVCRecordings(replace(corpus, index=texts), table, "train")
    known = pd.read_parquet(table)
    short = known.assign(durations=[row[:1] for row in known["durations"]])
    short.to_parquet(tmp_path / "short.parquet")
    with pytest.raises(ValueError, match="tokens with 1 durations of u0"):
        MVCRecordings(corpus, tmp_path / "short.parquet", "train")
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


def test_a_recording_shorter_than_its_text_is_left_out_by_name(corpus, capsys):
    texts = ["cat sat." * 9 if u == "u1" else "cat sat." for u in corpus.index["utterance"]]
    recordings = MVCRecordings(
        replace(corpus, index=corpus.index.assign(text=texts)), None, "train"
    )
    assert "u1" not in set(recordings.table["utterance"]) and len(recordings) == 7
    said = capsys.readouterr().out
    assert "left out: 1 of 8 recordings" in said and "the first u1 (24 frames, " in said
    assert recordings.batch([[6]], [0], mel=False).utterances == ("u7",)


def test_a_reference_can_be_any_other_recording_of_the_voice(corpus):
    # One voice with more recordings than there are draws; each mel holds its recording's number.
    n, frames = 600, 20
    index = pd.DataFrame(
        {
            "utterance": [f"u{i}" for i in range(n)],
            "split": "train",
            "text": "cat sat.",
            "voice": "v0",
            "n_frames": frames,
            "first_frame": frames * np.arange(n),
        }
    )
    mel = np.repeat(np.repeat(np.arange(n), frames)[:, None], N_MELS, axis=1).astype(np.float16)
    f0 = np.zeros(n * frames, np.float32)
    recordings = MVCRecordings(replace(corpus, index=index, mel=mel, f0=f0), None, "train")
    of = {float(recordings.batch([[i]], [0], False).mel[0, 0, 0]): i for i in range(n)}
    pairs = [(i, draw) for i in range(0, n, 2) for draw in (0, 85, 170, 255)]
    read = {i: of[float(recordings._reference(i, draw)[0, 0])] for i, draw in pairs}
    assert all(i != other for i, other in read.items())
    reached = {of[float(recordings._reference(i, draw)[0, 0])] for i, draw in pairs}
    assert len(reached) > 400 and max(reached) > 590


def test_an_alignment_that_was_killed_goes_on(corpus, tmp_path, monkeypatch):
    torch.manual_seed(0)
    save_aligner(tmp_path / "aligner", Aligner(AlignerSizes(len(SYMBOLS), 16)), {}, "fp32")
    monkeypatch.setattr(mvc_align, "prepare", lambda corpus: corpus)
    monkeypatch.setattr(mvc_align, "EVERY", 2)
    whole = mvc_align.align(corpus, tmp_path / "aligner", tmp_path / "whole.parquet")
    real, calls = mvc_align.aligned, []

    def killed(model, ids, mel):
        calls.append(len(mel))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(model, ids, mel)

    monkeypatch.setattr(mvc_align, "aligned", killed)
    out = tmp_path / "parts.parquet"
    with pytest.raises(KeyboardInterrupt):
        mvc_align.align(corpus, tmp_path / "aligner", out)
    assert len(pd.read_parquet(out)) == 4, "two writings of two"
    parts = mvc_align.align(corpus, tmp_path / "aligner", out)
    assert len(calls) == 6 + 6, "the four that were written are not aligned again"
    pd.testing.assert_frame_equal(parts, whole)
    pd.testing.assert_frame_equal(pd.read_parquet(out), pd.read_parquet(tmp_path / "whole.parquet"))
    assert [int(d.sum()) for d in parts["durations"]] == corpus.index["n_frames"].tolist()
    save_aligner(tmp_path / "other", Aligner(AlignerSizes(len(SYMBOLS), 16)), {}, "fp32")
    with pytest.raises(ValueError, match=r"holds durations of aligner:.*: delete it"):
        mvc_align.align(corpus, tmp_path / "other", out)


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
    other = [frame.assign(utterance="v") for frame in (frames[1], frames[1])]
    index = pd.DataFrame({"utterance": ["u", "v", "w"], "split": ["valid", "train", "test"]})
    both = [pd.concat(pair) for pair in zip(frames, other, strict=True)]
    scores = mvc_align.scores_by_split(*both, index)
    assert scores == {
        "train": {"recordings": 1, **border_scores(*other)},
        "valid": {"recordings": 1, **found},
    }
    with pytest.raises(ValueError, match="no recording in common"):
        mvc_align.scores_by_split(*both, index.assign(utterance="x"))
