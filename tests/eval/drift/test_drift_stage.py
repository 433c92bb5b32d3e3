"""stage=drift: where in a long text the errors are, whether the voice stays, and what is left out."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console

from eval.drift import stage as drifting
from eval.drift.measure import PARTS, errors_by_place, similarities_by_place
from eval.drift.stage import drift_stage
from eval.metrics.text.wer import word_diff
from eval.settings import Drift
from eval.store.evaluations import Evaluated
from eval.store.files import InputError, sha256_file

TEN = " ".join("abcdefghij")


@pytest.mark.parametrize(
    ("said", "errors"),
    [
        (TEN, (0, 0, 0, 0, 0)),
        (TEN.replace("b", "x"), (1, 0, 0, 0, 0)),
        (TEN.replace("i j", ""), (0, 0, 0, 0, 2)),
        (TEN.replace("e", "y e"), (0, 0, 1, 0, 0)),
        (TEN + " and more", (0, 0, 0, 0, 2)),
        ("", (2, 2, 2, 2, 2)),
    ],
)
def test_an_error_counts_where_it_is_in_the_text(said, errors):
    assert errors_by_place(word_diff(TEN, said)) == (errors, (2,) * PARTS)


def test_every_word_is_in_one_part_whatever_their_number():
    for n in (5, 7, 63, 101):
        words = errors_by_place(word_diff(" ".join(map(str, range(n))), ""))[1]
        assert sum(words) == n and max(words) - min(words) <= 1
    with pytest.raises(ValueError, match="4 words are no 5 parts"):
        errors_by_place(word_diff("a b c d", ""))


class Loudness:
    """An "encoder" that hears nothing but the level, to see which part it was given."""

    def embed(self, wave):
        return np.array([np.sqrt(np.mean(wave**2))])

    def check(self):
        pass


LOUDNESS: Any = Loudness()


def test_the_parts_of_a_sound_are_embedded_one_after_the_other():
    wave = np.repeat(np.arange(1.0, PARTS + 1), 1600)
    found = similarities_by_place(wave, np.array([2.0]), LOUDNESS)
    assert found == pytest.approx([2.0, 4.0, 6.0, 8.0, 10.0])


def evaluation(folder) -> Evaluated:
    """Three readings of 100 words; the last fifth of each is not said; the sound fades out. One is missing."""
    words = [f"w{i}" for i in range(100)]
    rows = []
    for voice in ("v0", "v1", "v2", "v3"):
        wav = folder / "wavs" / f"long-{voice}.wav"
        wav.parent.mkdir(parents=True, exist_ok=True)
        row = {"utterance": wav.stem, "voice": voice, "status": "ok", "text": " ".join(words)}
        row |= {"transcript": " ".join(words[:80]), "prompt": None, "wav_sha256": None}
        row |= {"duration_s": 40.0, "lm_s": 8.0, "vocode_s": 2.0}
        if voice != "v3":
            t = np.arange(16_000 * 40) / 16_000
            pulses = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 12))
            soundfile.write(wav, 0.1 * pulses * 10 ** (-t / 60), 16_000)
            row |= {"prompt": str(wav), "wav_sha256": sha256_file(wav)}
        rows.append(row)
    rows.append(rows[0] | {"utterance": "short", "text": "only a few words"})
    recipes = {"wer": {"profile": {"name": "seedtts"}, "language": "en"}}
    return Evaluated("student", 0, folder, {"kind": "model"}, recipes, {}, "list", tuple(rows))


@pytest.fixture
def run(tmp_path, monkeypatch):
    one = evaluation(tmp_path / "student")

    def work(rows=None, **changes):
        found = one if rows is None else replace(one, rows=tuple(rows))
        monkeypatch.setattr(drifting, "find_evaluations", lambda results: [found])
        monkeypatch.setattr(drifting, "load_speaker", lambda name, device: LOUDNESS)
        given = Drift(
            stage="drift", paths={}, threads=1, results=tmp_path, speaker="ge2e", tracker="nccf"
        )
        console = Console(record=True, width=240, quiet=False)
        code = drift_stage(replace(given, **changes), console)
        with (tmp_path / "drift.csv").open() as file:
            lines = list(csv.DictReader(file))
        return code, {r["measure"]: float(r["mean"]) for r in lines}, console.export_text()

    work.rows = one.rows
    return work


def test_a_reading_that_ends_early_and_fades_out_is_seen_in_its_last_part(run):
    code, values, text = run()
    assert code == 0
    assert [values[f"wer_{i}"] for i in range(1, 6)] == [0, 0, 0, 0, 1]
    assert values["wer_change"] == 1 and values["sim_change"] < 0
    # 1/60 of a decade a second: 20 dB in a minute.
    assert values["level_db_per_min"] == pytest.approx(-20, abs=1)
    assert values["pitch_cents_per_min"] == pytest.approx(0, abs=5)
    assert values["speed"] == pytest.approx(4.0)
    assert "long-v3 is left out: ok, its sound is missing" in text and "short" not in text


def test_a_sound_that_was_changed_since_is_no_reading(run):
    rows = [row | {"wav_sha256": "0" * 64} for row in run.rows[:3]]
    with pytest.raises(InputError, match=r"tools\.long_form makes a list"):
        run(rows)


def test_without_speaker_encoder_there_is_no_similarity(run):
    assert not [name for name in run(speaker=None)[1] if name.startswith("sim")]


@pytest.mark.parametrize(
    ("changes", "message"), [({"tracker": "crepe"}, "tracker=crepe: valid are pyin, nccf")]
)
def test_wrong_settings_are_named(run, changes, message):
    with pytest.raises(InputError, match=message):
        run(**changes)


def test_an_unknown_encoder_is_named(run, monkeypatch):
    monkeypatch.undo()
    given = Drift(
        stage="drift", paths={}, threads=1, results=Path("x"), speaker="ears", tracker="nccf"
    )
    with pytest.raises(InputError, match="unknown speaker encoder 'ears'"):
        drift_stage(given, Console(quiet=True))
