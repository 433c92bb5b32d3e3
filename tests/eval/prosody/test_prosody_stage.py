"""stage=prosody on made-up evaluations: statuses, places between floor and ceiling, what is not done twice."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console
from scipy.stats import kendalltau

from data.workers import worker_processes
from eval.analysis.statistics import Interval
from eval.prosody import measure as measuring
from eval.prosody.measure import file_of, measure
from eval.prosody.pairs import pairings
from eval.prosody.stage import _tables, prosody
from eval.prosody.table import Line, agreement, line_of, verdict
from eval.settings import Prosody, TestSetSettings
from eval.store.evaluations import Evaluated
from eval.store.files import InputError
from eval.testset import Item

QUIET = Console(quiet=True)


def tone(path: Path, hz: float, seconds: float = 0.6) -> Path:
    t = np.arange(int(16_000 * seconds)) / 16_000
    wave = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 12))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * wave * (1 + 0.5 * np.sin(20 * t)), 16_000)
    return path


@pytest.fixture
def system(tmp_path) -> Evaluated:
    folder = tmp_path / "evaluation" / "mvc"
    for name in ("a", "b", "c"):
        tone(folder / "wavs" / f"{name}.wav", 120)
    names = [("a", 0.0), ("b", 0.9), ("c", 0.1), ("d", 0.0)]
    rows = tuple(
        {"utterance": u, "voice": u, "status": "ok" if u != "d" else "missing", "wer": wer}
        for u, wer in names
    )
    parts = (folder, {"kind": "mvc"}, {}, {}, "list", rows)
    return Evaluated("mvc", 0, *parts)


@pytest.fixture
def items(tmp_path) -> dict[str, Item]:
    recording = tone(tmp_path / "rec" / "a.wav", 126)
    made = {u: Item(u, "x", "", None, recording, 1) for u in "abd"}
    return made | {"c": Item("c", "x", "", None, None, 1)}


def test_every_utterance_has_a_row_and_those_without_values_say_why(system, items):
    rows = measure(system, items, "nccf")
    statuses = {row["utterance"]: row["status"] for row in rows}
    assert statuses == {"a": "ok", "b": "not_read", "c": "no_recording", "d": "missing"}
    assert rows[0]["f0_rmse_cents"] == pytest.approx(1200 * np.log2(126 / 120), abs=3)
    first, *lines = file_of(system, "nccf").read_text().splitlines()
    assert json.loads(first)["protocol"]["tracker"] == "nccf" and len(lines) == 4


def test_what_is_measured_is_kept_until_a_sound_or_the_protocol_changes(system, items, monkeypatch):
    asked = []
    real = measuring.compare
    monkeypatch.setattr(measuring, "compare", lambda *a: asked.append(1) or real(*a))
    first = measure(system, items, "nccf")
    assert measure(system, items, "nccf") == first and len(asked) == 1
    tone(system.wavs / "a.wav", 110)
    assert measure(system, items, "nccf") != first and len(asked) == 2
    monkeypatch.setattr(measuring, "protocol", lambda tracker: {"tracker": "another"})
    measure(system, items, "nccf")
    assert len(asked) == 3


def test_processes_measure_what_one_does(system, items):
    alone = measure(system, items, "nccf")
    file_of(system, "nccf").unlink()
    with worker_processes(2) as pool:
        assert measure(system, items, "nccf", run=pool.map) == alone


def seeded(name: str, seed: int) -> Evaluated:
    return Evaluated(name, seed, Path(), {"kind": "mvc"}, {}, {}, "list", ())


def valued(*values: float | None) -> list[dict]:
    return [
        {"utterance": f"u{i}", "voice": f"v{i}", "status": "ok", "mcd_db": value}
        for i, value in enumerate(values)
    ]


def test_systems_are_paired_by_utterance_over_the_seeds_that_both_have():
    systems = [
        seeded("conv", 0),
        seeded("conv", 1),
        seeded("mvc", 0),
        seeded("mvc", 1),
        seeded("x", 5),
    ]
    rows = [valued(1, 2, 3, 4), valued(2, 3, 4, 5), valued(2, 3, 4.5, None), valued(3, 4, 5, 6)]
    [found] = pairings(systems, [*rows, valued(9, 9, 9, 9)], "conv")
    assert (found.system, found.measure) == ("mvc", "mcd_db")
    gap = found.difference
    # The fourth utterance has no value in one seed; x shares no seed with the baseline.
    assert (gap.n, gap.seeds) == (3, 2) and gap.point == pytest.approx((3 + 0.5 + 3) / 6)
    assert gap.base == pytest.approx(2.5) and gap.p_holm == gap.p
    alone = pairings([systems[0], *systems[2:4]], [rows[0], *rows[2:]], "conv")
    assert alone[0].difference.seeds == 2
    assert alone[0].difference.point == pytest.approx((1 + 1 + 1.5 + 2 + 2 + 2) / 6)


def rows_of(value: float) -> list[dict]:
    return [{"voice": v, "status": "ok", "mcd_db": value, "f0_rmse_cents": value} for v in "abc"]


def test_places_lie_between_floor_and_ceiling_and_trackers_are_compared():
    floor, ceiling = (line_of("x", rows_of(v)).means for v in (2.0, 6.0))
    line = line_of("mvc", rows_of(3.0), floor, ceiling)
    assert line.places["mcd_db"] == pytest.approx(0.25) and "path_penalty" not in line.means
    assert not line_of("mvc", rows_of(3.0), ceiling, floor).places

    def ranked(*values):
        return [
            Line(name, {"f0_rmse_cents": Interval(v, v, v, 1, 1)}, {}, {})
            for name, v in zip("abc", values, strict=True)
        ]

    assert agreement({"pyin": ranked(1, 2, 3), "nccf": ranked(4, 5, 6)}) == pytest.approx(1)
    assert agreement({"pyin": ranked(1, 2, 3), "nccf": ranked(4, 6, 5)}) < 1
    assert agreement({"pyin": ranked(1, 2, 3)}) is None


@pytest.mark.parametrize("n", [2, 5, 6, 8, 10])
def test_equal_rankings_are_alike_whatever_their_number(n):
    # scipy's tau of five equal ranks is 0.9999999999999999.
    assert verdict(float(kendalltau(range(n), range(n)).statistic)) == "alike"
    other = [1, 0, *range(2, n)]
    assert verdict(float(kendalltau(range(n), other).statistic)).startswith("not alike")
    tied = float(kendalltau(range(n), [1.0] * n).statistic)
    assert verdict(tied) == "not at all: one of them finds no difference"


def settings(tmp_path, **changes) -> Prosody:
    meta = tmp_path / "meta.lst"
    meta.write_text("a|hi|p.wav|hi\n")
    given = Prosody(
        stage="prosody",
        paths={},
        threads=1,
        testset=TestSetSettings(meta, "en", None),
        results=tmp_path / "evaluation",
        floor=None,
        ceiling=None,
        baseline=None,
        trackers=["nccf"],
        workers=1,
    )
    return replace(given, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trackers": ["crepe"]}, "trackers=crepe: valid are pyin, nccf"),
        ({"trackers": []}, "at least one"),
        ({"workers": 0}, "workers=0: at least 1"),
        ({}, "no evaluation of"),
    ],
)
def test_what_cannot_be_measured_is_named(system, tmp_path, monkeypatch, changes, message):
    monkeypatch.setattr("eval.prosody.stage.find_evaluations", lambda folder: [system])
    with pytest.raises(InputError, match=message):
        prosody(settings(tmp_path, **changes), QUIET)


def test_the_stage_writes_its_table_and_refuses_a_floor_that_is_none(
    system, items, tmp_path, monkeypatch
):
    monkeypatch.setattr("eval.prosody.stage.find_evaluations", lambda folder: [system])
    monkeypatch.setattr("eval.prosody.stage.sha256_file", lambda path: "list")
    monkeypatch.setattr("eval.prosody.stage.read_meta", lambda path: tuple(items.values()))
    with pytest.raises(InputError, match="floor=takes: no such system; there are mvc"):
        prosody(settings(tmp_path, floor="takes"), QUIET)
    with pytest.raises(InputError, match="baseline=takes: no such system; there are mvc"):
        prosody(settings(tmp_path, baseline="takes"), QUIET)
    assert prosody(settings(tmp_path), QUIET) == 0
    lines = (tmp_path / "evaluation" / "prosody.csv").read_text().splitlines()
    assert lines[0].startswith("tracker,system,measure,mean") and "nccf,mvc,mcd_db" in lines[1]


def test_the_printed_table_keeps_its_numbers_whole_at_any_width():
    value = Interval(-123.4, -234.5, 98.7, 3, 3)
    names = [f"system-{letter}" for letter in "abcdef"]
    lines = [Line(name, {"mcd_db": value}, {"mcd_db": 0.5}, {"ok": 2, "loop": 1}) for name in names]
    for width in (60, 80, 400):
        console = Console(width=width, record=True, file=io.StringIO())
        tables = list(_tables("nccf", lines, width))
        for table in tables:
            console.print(table)
        printed = console.export_text()
        assert len(tables) == (1 if width == 400 else 6 if width == 60 else 3)
        assert printed.count("-123 [-234, 98.7] @0.50") == 6 and printed.count("1 loop") == 6
        assert all(name in printed for name in names)


def test_a_baseline_makes_a_table_of_differences(system, items, tmp_path, monkeypatch):
    other = replace(system, name="conv", folder=tmp_path / "evaluation" / "conv")
    tone(other.wavs / "a.wav", 100)
    monkeypatch.setattr("eval.prosody.stage.find_evaluations", lambda folder: [system, other])
    monkeypatch.setattr("eval.prosody.stage.sha256_file", lambda path: "list")
    monkeypatch.setattr("eval.prosody.stage.read_meta", lambda path: tuple(items.values()))
    assert prosody(settings(tmp_path, baseline="conv"), QUIET) == 0
    rows = list(csv.DictReader((tmp_path / "evaluation" / "prosody_compare.csv").open()))
    cents = next(row for row in rows if row["measure"] == "f0_rmse_cents")
    assert (cents["system"], cents["baseline"], cents["utterances"]) == ("mvc", "conv", "1")
    wanted = 1200 * (np.log2(126 / 120) - np.log2(126 / 100))
    assert float(cents["difference"]) == pytest.approx(wanted, abs=6)
