"""Scoring with counting stand-ins for the metric models: statuses, caching, isolation of faults."""

import json

import numpy as np
import pytest
import soundfile
from rich.console import Console

from eval.score import STATUSES, Cache, Scorers, score
from eval.testset import Item

RATE_HZ = 16_000


class CountingASR:
    key = "asr-counting"

    def __init__(self, text: str = "hello world") -> None:
        self.text, self.calls = text, 0

    def transcribe(self, wave: np.ndarray) -> str:
        self.calls += 1
        if self.text == "raise":
            raise RuntimeError("out of memory")
        return self.text


class PitchSpeaker:
    key = "speaker-pitch"

    def embed(self, wave: np.ndarray) -> np.ndarray:
        crossings = float(np.mean(np.diff(np.signbit(wave).astype(int)) != 0))
        return np.array([np.cos(20 * crossings), np.sin(20 * crossings)])


class PeakMOS:
    key = "mos-peak"

    def score(self, wave: np.ndarray) -> float:
        return 1 + 4 * float(np.abs(wave).max())


def tone(hz: float, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)


@pytest.fixture
def world(tmp_path):
    soundfile.write(tmp_path / "low.wav", tone(200), RATE_HZ)
    soundfile.write(tmp_path / "high.wav", tone(900), RATE_HZ)
    wavs = tmp_path / "out" / "wavs"
    wavs.mkdir(parents=True)
    for name, hz in (("a", 200), ("b", 900), ("c", 200)):
        soundfile.write(wavs / f"{name}.wav", tone(hz), RATE_HZ)
    return tmp_path


def items(world, names="abc", text="Hello, world!"):
    prompts = {"b": "high.wav"}
    return [
        Item(name, text, "hi", world / prompts.get(name, "low.wav"), None, i + 1)
        for i, name in enumerate(names)
    ]


def run(world, these, asr=None, rows=None):
    scorers = Scorers(asr or CountingASR(), PitchSpeaker(), PeakMOS(), Cache(world / "cache"))
    console = Console(quiet=True)
    return score(these, world / "out", scorers, rows or {}, name="s", console=console), scorers


def test_good_rows_carry_every_metric(world):
    rows, _ = run(world, items(world))
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert [row["wer"] for row in rows] == [0.0] * 3
    assert rows[0]["sim_prompt"] == pytest.approx(1.0) and rows[0]["sim_other"] < 0.9
    assert rows[0]["mos"] == pytest.approx(3.0, abs=0.01)
    assert rows[0]["transcript"] == "hello world"
    written = (world / "out" / "scores.jsonl").read_text().splitlines()
    assert [json.loads(line)["utterance"] for line in written] == ["a", "b", "c"]


def test_a_second_run_calls_no_model_and_writes_the_same_bytes(world):
    run(world, items(world))
    first = (world / "out" / "scores.jsonl").read_bytes()
    asr = CountingASR()
    _, scorers = run(world, items(world), asr)
    assert scorers.cache.calls == 0 and asr.calls == 0
    assert (world / "out" / "scores.jsonl").read_bytes() == first


def test_a_changed_wav_is_scored_again_and_a_damaged_cache_entry_is_recomputed(world):
    run(world, items(world))
    soundfile.write(world / "out" / "wavs" / "a.wav", tone(400), RATE_HZ)
    asr = CountingASR()
    run(world, items(world), asr)
    assert asr.calls == 1
    entry = next((world / "cache" / CountingASR.key).rglob("*.json"))
    entry.write_text("{ half")
    run(world, items(world), asr)
    assert asr.calls == 2


def damage(path, kind):
    if kind == "missing":
        path.unlink()
    elif kind == "corrupt":
        path.write_bytes(path.read_bytes()[:20])
    elif kind == "empty":
        soundfile.write(path, np.zeros(0), RATE_HZ)
    elif kind == "silent":
        soundfile.write(path, np.zeros(1000), RATE_HZ)
    elif kind == "nan":
        soundfile.write(path, np.full(1000, np.nan), RATE_HZ, subtype="FLOAT")


@pytest.mark.parametrize("kind", ["missing", "corrupt", "empty", "silent", "nan"])
def test_a_bad_wav_has_its_status_counts_as_all_words_lost_and_changes_no_other_row(world, kind):
    good, _ = run(world, items(world))
    damage(world / "out" / "wavs" / "b.wav", kind)
    rows, _ = run(world, items(world))
    assert rows[1]["status"] == kind and kind in STATUSES
    assert (rows[1]["wer"], rows[1]["deletions"], rows[1]["mos"]) == (1.0, 2, None)
    assert [rows[0], rows[2]] == [good[0], good[2]]


@pytest.mark.parametrize("rate_hz", [8000, 22050, 24000, 48000])
def test_other_rates_and_stereo_are_read(world, rate_hz):
    wave = np.sin(2 * np.pi * 200 * np.arange(rate_hz) / rate_hz)
    path = world / "out" / "wavs" / "a.wav"
    soundfile.write(path, 0.5 * np.stack([wave, wave], axis=1), rate_hz)
    rows, _ = run(world, items(world))
    assert rows[0]["status"] == "ok" and rows[0]["sim_prompt"] > 0.99
    assert rows[0]["duration_s"] == pytest.approx(1.0)


def test_asr_failure_prompt_missing_and_empty_reference(world):
    rows, _ = run(world, items(world), CountingASR("raise"))
    assert {row["status"] for row in rows} == {"asr_error"}
    assert "out of memory" in rows[0]["detail"] and rows[0]["wer"] == 1.0
    (world / "high.wav").unlink()
    rows, _ = run(world, items(world))
    assert [row["status"] for row in rows] == ["ok", "prompt_missing", "ok"]
    rows, _ = run(world, items(world, text="?!"))
    assert {row["status"] for row in rows} == {"ref_empty"}
    assert rows[0]["wer"] is None


def test_a_failed_synthesis_says_so(world):
    (world / "out" / "wavs" / "a.wav").unlink()
    rows, _ = run(world, items(world), rows={"a": {"error": "ValueError: no tokens"}})
    assert rows[0]["status"] == "missing" and "no tokens" in rows[0]["detail"]
