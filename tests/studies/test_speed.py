"""The text about speed says what the committed runs say, and nothing where there is none."""

import json
from pathlib import Path

import pytest

from eval.efficiency.peers import COSYVOICE2, NAMES, NO_TEXT_HEAD
from eval.store.files import InputError
from studies.documents.sources import Sources
from studies.documents.speed import NOTHING, performance, speed_figures, speed_tables, targets_table

RATES = {  # at 300 and 2,048 positions
    "1to0": (20.0, 16.0),
    "1to1": (19.0, 17.6),
    "1to11": (18.0, 20.0),
    NAMES[NO_TEXT_HEAD]: (10.0, 10.0),
    NAMES[COSYVOICE2]: (8.0, 5.0),
}


def row(system, context, rate):
    return {
        "system": system,
        "context": context,
        "batch": 1,
        "first_token_s": None,
        "tokens_per_s": rate,
        "tokens_per_s_low": rate - 1,
        "tokens_per_s_high": rate + 1,
        "limit_tokens_per_s": 2 * rate,
        "lm_rtf": None,
        "codec_rtf": None,
        "state_bytes": 1,
        "step_bytes": 100 if system == "1to0" else 50,
        "peak_allocated_bytes": None,
    }


@pytest.fixture
def measured(tmp_path):
    rows = [
        row(system, context, rate)
        for system, both in RATES.items()
        for context, rate in zip((300, 2048), both, strict=True)
    ]
    content = {
        "machine": {"device": "cpu", "processor": "Abacus", "torch_threads": 2},
        "packages": {"torch": "9.9"},
        "fingerprint": "abc",
        "baseline": "1to0",
        "runtime": {"1to0": {"dtype": "bf16"}},
        "rows": rows,
    }
    path = tmp_path / "results/efficiency/Abacus-2/context/efficiency.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    return tmp_path, path, content


def test_the_paragraph_has_the_ratios_of_its_run(measured):
    text = performance(Sources(measured[0]))
    assert max(map(len, text.splitlines())) <= 140
    text = " ".join(text.split())
    assert "Abacus, 2 threads" in text and "bf16" in text and "20.0 tokens/s" in text
    assert "is 2.00 and 1.60 times as fast as transformers without" in text
    assert "2.50 and 3.20 times as CosyVoice 2" in text
    assert "1to1 0.95 and 1.10, 1to11 0.90 and 1.25" in text


def test_every_row_is_in_the_tables(measured):
    text = speed_tables(Sources(measured[0]))
    assert text.count("\n| ") == 1 + len(RATES) * 2  # headers and rows
    assert "| 1to11 | 2048 | 1 | – | 20.0 | 19.0-21.0 | 1.25 | 0.50 |" in text


def test_what_was_asked_for_is_held_against_the_rows(measured):
    """1to11 moves half of the bytes: it is to be twice as fast, less a tenth."""
    root, path, content = measured
    for length, rate in ((8192, 31.0), (32768, 25.0)):
        content["rows"] += [row("1to0", length, 16.0)]
        content["rows"] += [row(one, length, rate) for one in ("1to1", "1to11")]
    path.write_text(json.dumps(content))
    many = [row("1to0", 300, 101.0), row("1to0", 2048, 79.0), row("1to11", 2048, 150.0)]
    beside = root / "results/efficiency/Abacus-2/batch/efficiency.json"
    beside.parent.mkdir()
    rows = [{**one, "batch": 16} for one in many]
    beside.write_text(json.dumps({**content, "rows": rows}))
    lines = targets_table(Sources(root)).splitlines()
    head = "| teacher / transformers without its text head | "
    assert f"{head}300 | 1.25 | 2.00 |  |" in lines and f"{head}2,048 | 1.40 | 1.60 |  |" in lines
    assert "| 1to1 / teacher | 300 | 1.00 | 0.95 | **missed** |" in lines
    assert "| 1to11 / teacher, of what bytes say | 8,192 | 0.90 | 0.97 |  |" in lines
    assert "| 1to11 / teacher, of what bytes say | 32,768 | 0.90 | 0.78 | **missed** |" in lines
    assert "| teacher: 16 streams / one | 300 | 5.00 | 5.05 |  |" in lines
    assert "| teacher: 16 streams / one | 2,048 | 5.00 | 4.94 | **missed** |" in lines
    beside.write_text(json.dumps({**content, "rows": rows[:1]}))
    with pytest.raises(InputError, match="no row of 1to11 at 2048 positions, batch 16"):
        targets_table(Sources(root))


def test_a_row_that_lacks_is_named(measured):
    root, path, content = measured
    content["rows"] = [one for one in content["rows"] if one["system"] != "1to11"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"context/efficiency\.json: no row of 1to11 at 300"):
        performance(Sources(root))


def test_nothing_measured_is_said(tmp_path: Path):
    assert performance(Sources(tmp_path)) == speed_tables(Sources(tmp_path)) == NOTHING
    assert targets_table(Sources(tmp_path)) == NOTHING


def test_the_figure_is_the_same_for_the_same_run_and_another_for_another(measured):
    root, path, content = measured
    first, again = (speed_figures(Sources(root), root / name)[0] for name in "ab")
    assert first.name == "speed-Abacus-2.svg" and first.read_bytes() == again.read_bytes()
    content["rows"][3] |= row("1to1", 2048, 12.0)
    path.write_text(json.dumps(content))
    assert speed_figures(Sources(root), root / "c")[0].read_bytes() != first.read_bytes()
    path.unlink()
    assert speed_figures(Sources(root), root / "d") == []
