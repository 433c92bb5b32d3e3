"""LibriTTS to tokens: what is kept, what is dropped and why, sharding and resuming."""

import json
import os
import threading

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from data import tokenise_speech as module
from data.libritts import scan
from data.tokenise_speech import batches, finish, look_at, parse_shard, read, tokenise
from data.tokens import read_token_table
from mamtra.text.characters import CharacterTokenizer


class Counting:
    """Stands for the S3 tokenizer: one code per 640 samples, and a list of what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def encode(self, waves):
        self.batches.append([len(wave) for wave in waves])
        return [torch.full((-(-len(wave) // 640),), 7) for wave in waves]


@pytest.fixture
def corpus(tmp_path):
    """A LibriTTS of two subsets with one recording for each kind of trouble."""
    rng = np.random.default_rng(0)

    def add(subset, name, seconds=2.0, rate_hz=24_000, text="some text", gain=0.1, samples=None):
        folder = tmp_path / "LibriTTS" / subset / name.split("_")[0] / "1"
        folder.mkdir(parents=True, exist_ok=True)
        if samples is None:
            samples = gain * rng.standard_normal(int(seconds * rate_hz))
        soundfile.write(folder / f"{name}.wav", samples, rate_hz, subtype="FLOAT")
        if text is not None:
            (folder / f"{name}.normalized.txt").write_text(text + "\n")

    for i in range(6):
        add("train-clean-100", f"10_{i}", seconds=1.5 + i)
    add("train-clean-100", "11_long", seconds=30.5)
    add("train-clean-100", "11_short", seconds=0.5)
    add("train-clean-100", "11_slow", rate_hz=8_000)
    add("train-clean-100", "11_mute", text=None)
    add("train-clean-100", "11_blank", text=" ")
    add("train-clean-100", "11_silent", samples=np.zeros(48_000))
    add("train-clean-100", "11_nan", samples=np.full(48_000, np.nan))
    add("train-clean-100", "11_loud", gain=5.0)
    add("dev-clean", "20_0")
    broken = tmp_path / "LibriTTS/train-clean-100/11/1/11_broken.wav"
    broken.write_bytes(b"RIFF")
    broken.with_suffix(".normalized.txt").write_text("x\n")
    return tmp_path / "LibriTTS"


SUBSETS = ["train-clean-100", "dev-clean"]
DROPPED = {
    "11_blank": "no text",
    "11_broken": "unreadable",
    "11_long": "longer than 30 s",
    "11_mute": "no text",
    "11_nan": "NaN or infinite samples",
    "11_short": "shorter than 1 s",
    "11_silent": "silent",
    "11_slow": "sample rate below 16000 Hz",
}


def test_every_recording_is_kept_or_named(corpus, tmp_path):
    wanted, out = scan(corpus, SUBSETS), tmp_path / "out"
    tokenise(wanted, Counting(), out)
    report = finish(wanted, out)
    assert report["dropped_utterances"] == DROPPED
    assert report["utterances"] == len(wanted) == 16 and report["kept"] == 8
    assert report["clipped_but_kept"] == 1 and report["dropped"]["no text"] == 2
    assert report["hours"] == pytest.approx((sum(1.5 + i for i in range(6)) + 4) / 3600, abs=1e-3)
    assert report["subsets"]["dev-clean"] == {"kept": 1, "hours": 0.001, "dropped": {}}
    assert json.loads((out / "report.json").read_text()) == report
    table = read_token_table(out / "tokens.parquet", "train", CharacterTokenizer(), 6561)
    assert table.utterances == (*(f"10_{i}" for i in range(6)), "11_loud")
    assert [len(ids) for ids in table.speech_ids][:2] == [38, 63] and table.voices[0] == "10"


def test_shards_together_are_the_whole(corpus, tmp_path, capsys):
    wanted, out = scan(corpus, SUBSETS), tmp_path / "out"
    tokenise(wanted, Counting(), out, (0, 2))
    assert finish(wanted, out) is None and "left to other shards" in capsys.readouterr().out
    assert not (out / "tokens.parquet").exists()
    tokenise(wanted, Counting(), out, (1, 2))
    both = finish(wanted, out)
    alone = tmp_path / "alone"
    tokenise(wanted, Counting(), alone)
    assert finish(wanted, alone) == both
    assert (alone / "tokens.parquet").read_bytes() == (out / "tokens.parquet").read_bytes()


def test_two_shards_that_end_together_both_write_the_table(corpus, tmp_path, monkeypatch):
    """The second ends, as another process, while the first is writing."""
    wanted, out = scan(corpus, SUBSETS), tmp_path / "out"
    tokenise(wanted, Counting(), out)
    write, during = pd.DataFrame.to_parquet, []

    def slow(frame, path, **options):
        write(frame, path, **options)
        if not during:
            during.append(path)
            monkeypatch.setattr(os, "getpid", lambda: 1)
            finish(wanted, out)
            monkeypatch.undo()

    monkeypatch.setattr(pd.DataFrame, "to_parquet", slow)
    assert finish(wanted, out)
    assert during and [path.name for path in out.glob("*partial*")] == []


def test_a_killed_run_goes_on_where_it_stopped(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCHES_PER_PART", 1)
    wanted, out = scan(corpus, SUBSETS), tmp_path / "out"

    class Dying(Counting):
        def encode(self, waves):
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().encode(waves)

    with pytest.raises(KeyboardInterrupt):
        tokenise(wanted, Dying(), out, batch_seconds=8)
    again = Counting()
    tokenise(wanted, again, out, batch_seconds=8)
    whole = Counting()
    tokenise(wanted, whole, tmp_path / "whole", batch_seconds=8)
    assert again.batches == whole.batches[2:]
    assert finish(wanted, out) == finish(wanted, tmp_path / "whole")


def test_the_next_batch_is_read_while_one_is_encoded(corpus, tmp_path, monkeypatch):
    begun = threading.Semaphore(0)

    def slow_read(path):
        begun.release()
        return read(path)

    class Waiting(Counting):
        def encode(self, waves):
            if not self.batches:  # of the batches ahead, while the first is here
                ahead = len(waves) + 1
                assert all(begun.acquire(timeout=60) for _ in range(ahead))
            return super().encode(waves)

    monkeypatch.setattr(module, "read", slow_read)
    wanted = scan(corpus, SUBSETS)
    tokenise(wanted, Waiting(), tmp_path / "ahead", batch_seconds=8, readers=1)
    tokenise(wanted, whole := Counting(), tmp_path / "one", batch_seconds=8)
    assert len(whole.batches) > 2
    first, second = (module.read_parts(tmp_path / name) for name in ("ahead", "one"))
    pd.testing.assert_frame_equal(first, second)


def test_batches_keep_within_the_seconds():
    seconds = [1.0, 9.0, 4.0, 4.5, 8.0, 2.0]
    found = list(batches(seconds, 18.0))
    assert sorted(i for batch in found for i in batch) == list(range(6))
    assert all(len(b) * max(seconds[i] for i in b) <= 18 for b in found)
    assert list(batches([40.0], 18.0)) == [[0]] and list(batches([], 18.0)) == []


def test_audio_is_resampled_to_16_khz(corpus):
    wav = corpus / "dev-clean/20/1/20_0.wav"
    wave, note = read(wav)
    assert wave.shape == (32_000,) and wave.dtype == torch.float32 and note is None
    assert look_at(scan(corpus, ["dev-clean"])[0]).seconds == pytest.approx(2.0)


def test_missing_subsets_and_wrong_shards_are_named(corpus):
    with pytest.raises(FileNotFoundError, match=r"train-clean-360.*openslr\.org/60"):
        scan(corpus, ["dev-clean", "train-clean-360"])
    with pytest.raises(ValueError, match="not train-clean-999"):
        scan(corpus, ["train-clean-999"])
    assert parse_shard("2/8") == (2, 8)
    for text in ("8/8", "1", "a/b"):
        with pytest.raises(ValueError, match="i/n"):
            parse_shard(text)


def test_the_command_line_names_what_is_wrong(corpus, tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["x", *arguments])
        module.main()

    here = (f"root={corpus}", f"model={tmp_path}", f"out={tmp_path / 'o'}", "subsets=dev-clean")
    with pytest.raises(SystemExit, match="speech_tokenizer_v2"):
        run(*here)
    with pytest.raises(SystemExit, match="error: shard is i/n"):
        run(*here, "shard=3/2")
    monkeypatch.setattr(module, "load_s3", lambda folder, device: Counting())
    run(*here)
    assert "1 rows, 0.001 hours" in capsys.readouterr().out


def test_onnx_is_asked_for_by_name_and_mixes_with_no_other_tokens(corpus, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "load_s3_onnx", lambda folder: asked.append(folder) or Counting())
    monkeypatch.setattr(module, "load_s3", lambda folder, device: Counting())

    def run(*arguments):
        given = (
            f"root={corpus}",
            f"model={tmp_path}",
            f"out={tmp_path / 'o'}",
            "subsets=dev-clean",
        )
        monkeypatch.setattr("sys.argv", ["x", *given, *arguments])
        module.main()

    run("onnx=true")
    assert asked == [tmp_path] and len(pd.read_parquet(tmp_path / "o/tokens.parquet")) == 1
    with pytest.raises(SystemExit, match="holds tokens made with onnx, not torch"):
        run()
    with pytest.raises(SystemExit, match="onnx is true or false, not 'yes'"):
        run("onnx=yes")
