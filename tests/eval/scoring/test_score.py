"""Scoring with counting stand-ins for the metric models: statuses, caching, isolation of faults."""

import io
import sqlite3
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from rich.console import Console

from eval.metrics.guard import SpeechDetector
from eval.metrics.weights import Unavailable
from eval.scoring.row import STATUSES
from eval.store.files import InputError
from tests.eval.scored_world import (
    RATE_HZ,
    BatchASR,
    CountingASR,
    items,
    run,
    score_with,
    stand_ins,
    stored,
    tone,
)


def test_good_rows_carry_every_metric(world):
    rows, _ = run(world, items(world))
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert [row["wer"] for row in rows] == [0.0] * 3
    assert rows[0]["sim_prompt"] == pytest.approx(1.0) and rows[0]["sim_other"] < 0.9
    assert rows[0]["mos"] == pytest.approx(3.0, abs=0.01)
    assert rows[0]["transcript"] == "hello world"
    assert stored(world) == rows and [row["utterance"] for row in rows] == ["a", "b", "c"]


def test_a_second_run_calls_no_model_and_writes_the_same_rows(world):
    run(world, items(world))
    first = stored(world)
    asr = CountingASR()
    _, scorers = run(world, items(world), asr)
    assert scorers.cache.calls == 0 and asr.calls == 0
    assert stored(world) == first


def test_a_changed_wav_is_scored_again_and_a_damaged_cache_entry_is_recomputed(world):
    run(world, items(world))
    soundfile.write(world / "out" / "wavs" / "a.wav", tone(400), RATE_HZ)
    asr = CountingASR()
    run(world, items(world), asr)
    assert asr.calls == 1
    with sqlite3.connect(world / "cache/metrics.sqlite") as cache:
        cache.execute("UPDATE value SET value = '{ half' WHERE key = ?", (asr.key,))
    run(world, items(world), asr)
    assert asr.calls == 1 + 3  # a, b and c: equal clips have different hashes now


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


def test_asr_failure_and_empty_reference(world):
    rows, _ = run(world, items(world), CountingASR("raise"))
    assert {row["status"] for row in rows} == {"asr_error"}
    assert "out of memory" in rows[0]["detail"] and rows[0]["wer"] == 1.0
    rows, _ = run(world, items(world, text="?!"))
    assert {row["status"] for row in rows} == {"ref_empty"}
    assert rows[0]["wer"] is None


def test_a_failed_synthesis_says_so(world):
    (world / "out" / "wavs" / "a.wav").unlink()
    rows, _ = run(world, items(world), rows={"a": {"error": "ValueError: no tokens"}})
    assert rows[0]["status"] == "missing" and "no tokens" in rows[0]["detail"]


@pytest.mark.parametrize("n_shards", [1, 2, 3, 7])
def test_shards_leave_the_rows_of_one_process_and_lose_nothing(world, n_shards):
    run(world, items(world))
    whole = stored(world)
    (world / "out/evaluation.sqlite").unlink()
    for i in reversed(range(n_shards)):
        if i < n_shards - 1 and i < len(whole) - 1:  # a shard without items adds none
            with pytest.raises(InputError, match=r"not ready|not scored"):
                stored(world)
        run(world, items(world), shard=(i, n_shards))
    assert stored(world) == whole


def test_shards_of_different_profiles_are_not_one_result(world):
    for i in range(2):
        run(world, items(world), shard=(i, 2))
    run(world, items(world), profile="whisper", shard=(0, 2))
    with pytest.raises(InputError, match="not ready"):
        stored(world)
    run(world, items(world), profile="whisper", shard=(1, 2))
    assert len(stored(world)) == 3


class NoWeights(CountingASR):
    def transcribe(self, wave):
        raise Unavailable("cannot load it: give a folder")


def test_a_model_that_cannot_be_had_stops_the_run(world):
    with pytest.raises(InputError, match="give a folder"):
        run(world, items(world), NoWeights())
    with pytest.raises(InputError, match="not scored yet"):
        stored(world)


def test_a_list_without_prompts_has_no_similarity_and_no_fault(world):
    these = [replace(item, prompt_wav=None) for item in items(world)]
    rows, _ = run(world, these)
    assert {row["status"] for row in rows} == {"ok"} and rows[0]["sim_prompt"] is None
    console = Console(record=True, width=200, file=io.StringIO())
    score_with(world, these, stand_ins(world), console=console)
    assert "s: prompts" not in console.export_text(), "nor a bar"


def test_one_sample_and_sides_that_cancel_out_are_no_speech(world):
    soundfile.write(world / "out/wavs/a.wav", np.full(1, 0.5), 48_000)
    sides = np.stack([tone(200), -tone(200)], axis=1)
    soundfile.write(world / "out/wavs/b.wav", sides, RATE_HZ)
    rows, _ = run(world, items(world))
    assert [row["status"] for row in rows] == ["empty", "silent", "ok"]


def test_shards_of_another_list_are_not_one_result(world):
    run(world, items(world), shard=(0, 2))
    run(world, items(world, "ab"), shard=(1, 2))
    with pytest.raises(InputError, match="1 of 2 utterances are scored"):
        stored(world)


def test_another_profile_asks_no_model_and_counts_its_own_way(world):
    these = items(world, text="the colour grey")
    seed, _ = run(world, these, CountingASR("the color gray"))
    whisper, scorers = run(world, these, CountingASR("raise"), profile="whisper")
    assert scorers.cache.calls == 0
    assert (seed[0]["wer"], whisper[0]["wer"]) == (pytest.approx(2 / 3), 0.0)


def test_equal_audio_in_another_format_is_not_scored_again(world):
    run(world, items(world))
    path = world / "out/wavs/a.wav"
    wave, _ = soundfile.read(path, dtype="float32")
    soundfile.write(path, wave, RATE_HZ, subtype="FLOAT")
    _, scorers = run(world, items(world))
    assert scorers.cache.calls == 0


class NoSpeech(SpeechDetector):
    @property
    def recipe(self):
        return {"tool": "none"}

    def spans(self, wave):
        return [] if np.abs(wave).max() < 0.2 else [(0, len(wave) // 2)]


def test_what_is_heard_in_noise_counts_as_all_words_lost(world):
    noise = 0.1 * np.random.default_rng(0).uniform(-1, 1, 8000)
    soundfile.write(world / "out/wavs/b.wav", noise, RATE_HZ)
    rows, _ = run(world, items(world), CountingASR("a lot of words here"), detector=NoSpeech())
    assert rows[1]["flags"] == ["no_speech"]
    assert rows[1]["wer"] == 2.5 and rows[1]["guarded_errors"] == rows[1]["reference_words"] == 2
    assert rows[0]["flags"] == [] and rows[0]["guarded_errors"] == 5
    assert rows[0]["silence_end_s"] == 0.25


def test_a_loop_costs_a_sentence_at_most_its_words(world):
    rows, _ = run(world, items(world), CountingASR("thank you so much " * 56))
    assert rows[0]["flags"] == ["loop"] and rows[0]["wer"] > 100
    assert rows[0]["guarded_errors"] == 2


def test_trailing_silence_is_reported(world):
    path = world / "out/wavs/a.wav"
    run(world, items(world), detector=NoSpeech())
    wave, _ = soundfile.read(path)
    soundfile.write(path, np.concatenate([wave, np.zeros(RATE_HZ)]), RATE_HZ)

    class FirstHalf(NoSpeech):
        def spans(self, wave):
            return [(0, 4000)]

    rows, _ = run(world, items(world), detector=FirstHalf())
    assert rows[0]["silence_end_s"] == 1.25 and rows[2]["silence_end_s"] == 0.25


def test_the_recordings_voice_is_compared_too(world):
    these = [replace(item, recording=world / "high.wav") for item in items(world)]
    rows, _ = run(world, these)
    assert rows[1]["sim_recording"] == pytest.approx(1.0) and rows[0]["sim_recording"] < 0.9
    assert run(world, items(world))[0][0]["sim_recording"] is None


def test_batches_hold_clips_of_like_length_and_leave_the_rows_as_they_are(world):
    alone, _ = run(world, items(world), CountingASR())
    soundfile.write(world / "out/wavs/b.wav", tone(900, 2.0), RATE_HZ)
    soundfile.write(world / "out/wavs/c.wav", tone(300, 0.6), RATE_HZ)
    soundfile.write(world / "out/wavs/d.wav", tone(300, 31.0), RATE_HZ)
    asr = BatchASR()
    rows, scorers = run(world, items(world, "abcd"), asr)
    assert asr.batches == [[9600, 32000]]  # a is in the cache, d does not fit in the window
    assert asr.calls == 2 and "long" in rows[3]["flags"]  # d in two parts
    assert rows[0] == alone[0] and all(row["transcript"] for row in rows)
    assert run(world, items(world, "abcd"), BatchASR())[1].cache.calls == 0
    assert scorers.cache.calls > 0


def test_equal_clips_are_heard_once(world):
    asr = BatchASR(batch=8)
    run(world, items(world), asr)
    assert asr.batches == [[8000, 8000]] and asr.calls == 0  # a and c are the same


def test_a_batch_that_fails_is_read_one_by_one(world):
    asr = BatchASR(fails=True)
    rows, _ = run(world, items(world), asr)
    assert [row["status"] for row in rows] == ["ok"] * 3 and asr.calls == 2
