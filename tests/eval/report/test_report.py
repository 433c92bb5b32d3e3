"""The report page: self-contained, escaped, with players, and without errors in a browser."""

import base64
import html.parser
import io
import re
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from eval.analysis.summary import leaderboard_line
from eval.report.curves import curves_svg, read_curves
from eval.report.page import SystemResult, audio_data_uri, write_report
from eval.store.evaluations import read_evaluation
from tests.eval.stored import WER, put_evaluation

EVIL = '<script>alert("x")</script> & co'


def row(utterance: str, text: str, transcript: str, errors: int) -> dict:
    words = len(text.split())
    return {
        "utterance": utterance,
        "status": "ok",
        "detail": "",
        "prompt": "p.wav",
        "text": text,
        "transcript": transcript,
        "wer": errors / words,
        "substitutions": errors,
        "deletions": 0,
        "insertions": 0,
        "guarded_errors": errors,
        "flags": [],
        "sim_recording": None,
        "reference_words": words,
        "sim_prompt": 0.9,
        "sim_other": 0.5,
        "mos": 3.2,
        "duration_s": 0.3,
        "n_tokens": 10,
        "lm_s": 0.1,
        "vocode_s": 0.05,
        "hit_max": False,
    }


@pytest.fixture
def page(tmp_path):
    results = []
    for system, plan in (("teacher", ["attention"] * 4), (EVIL, ["attention", "mamba"] * 2)):
        folder = tmp_path / f"s{len(results)}"
        (folder / "x/wavs").mkdir(parents=True)
        rows = []
        for i in range(3):
            wave = 0.3 * np.sin(np.arange(4800) * 0.1 * (i + 1))
            soundfile.write(folder / "x/wavs" / f"u{i}.wav", wave, 16000)
            rows.append(row(f"u{i}", f"say {EVIL} now", f"say {EVIL} wow", 1))
        card = {"layer_plan": plan, "n_parameters": 1000, "ce": 3.0, "ce_shuffled": 4.5}
        put_evaluation(folder, "x", rows, recipes={"wer": WER | {"asr": EVIL}}, card=card)
        [one] = read_evaluation(folder)
        line = leaderboard_line(system, one.card, one.rows)
        metrics = tmp_path / "metrics.csv"
        metrics.write_text("step,loss,ce,val_loss\n10,3.0,2.0,\n20,2.5,1.5,\n20,,,2.4\n")
        svg = curves_svg(read_curves(metrics))
        results.append(SystemResult(line, one, svg, str(metrics)))
    paths = write_report(results, tmp_path, title=EVIL, n_examples=2)
    return paths[2]


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_text_from_data_is_escaped(page):
    content = page.read_text()
    assert 'alert("x")</script>' not in content
    assert "&lt;script&gt;" in content


def test_nothing_is_loaded_from_elsewhere(page):
    parser = Tags()
    parser.feed(page.read_text())
    for tag, attributes in parser.found:
        for name in ("src", "href", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value)
    assert not re.search(r"url\((?!['\"]?(#|data:))|@import", page.read_text())


def test_every_player_has_a_source_and_every_system_is_shown(page):
    parser = Tags()
    parser.feed(page.read_text())
    sources = [
        a.get("src") for tag, a in parser.found if tag in ("audio", "source") and a.get("src")
    ]
    assert len(sources) == 4 and all(s.startswith("data:audio/") for s in sources)
    assert "<svg" in page.read_text()


@pytest.mark.parametrize(
    ("form", "rate_hz", "channels"),
    [("FLAC", 24_000, 1), ("MP3", 24_000, 1), ("MP3", 96_000, 10), ("FLAC", 7_000, 2)],
)
def test_float_wavs_of_any_rate_are_heard(form, rate_hz, channels, tmp_path):
    tone = 0.3 * np.sin(0.02 * np.arange(rate_hz))
    path = tmp_path / "f.wav"
    soundfile.write(path, np.stack([tone] * channels, axis=1), rate_hz, subtype="FLOAT")
    content = base64.b64decode(audio_data_uri(path, form).split(",")[1])
    heard, _ = soundfile.read(io.BytesIO(content))
    assert np.abs(heard).max() == pytest.approx(0.3, abs=0.05)
    assert audio_data_uri(tmp_path / "none.wav") is None


def test_tables_hold_the_numbers(page):
    csv = page.with_name("leaderboard.csv").read_text()
    assert "teacher" in csv and csv.count("\n") == 3
    assert "|" in page.with_name("leaderboard.md").read_text()


def test_opens_in_a_browser_without_console_errors(page, tmp_path):
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no Chromium or Chrome on the PATH")
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        "--virtual-time-budget=2000",
        "--dump-dom",
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert not re.findall(r"CONSOLE.*(?:error|Uncaught|Refused|Failed).*", done.stderr)
    assert done.stdout.count("<audio") == 4
