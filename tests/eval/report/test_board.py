"""The board: grouping, escaping, size, and what its pages do in a browser."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import soundfile
from rich.console import Console

from eval.report.board import grid_of, make_groups, write_board
from eval.store.evaluations import find_evaluations
from tests.eval.stored import put_evaluation

QUIET = Console(quiet=True)
EVIL = "<b>x & 'y'"
EVIL_TEXT = '<script>alert("x")</script> goes on'


def evaluation(
    root: Path,
    name: str,
    *,
    rate: float = 0.1,
    utterances: int = 30,
    seed: int = 0,
    protocol: str = "p",
    plan=("attention", "mamba"),
    wavs: bool = False,
    text: str = EVIL_TEXT,
) -> None:
    """What evaluate.py leaves of a system, with errors at `rate`."""
    folder = root / f"{name}-{seed}-{protocol}".replace("/", "_") / name
    folder.mkdir(parents=True)
    rng = np.random.default_rng(crc32(f"{name} {seed}".encode()))
    rows = []
    for i in range(utterances):
        n_words = 3 + i % 40
        errors = int(rng.binomial(n_words, rate))
        rows.append(
            {
                "utterance": f"u{i}",
                "status": "ok",
                "detail": "",
                "flags": [],
                "prompt": f"p{i % 10}.wav",
                "text": text,
                "transcript": "something else goes on",
                "wer": errors / n_words,
                "substitutions": errors,
                "deletions": 0,
                "insertions": 0,
                "guarded_errors": errors,
                "reference_words": n_words,
                "sim_prompt": 0.9,
                "sim_other": 0.5,
                "sim_recording": None,
                "mos": 3.1,
                "duration_s": 0.4 * n_words,
                "n_tokens": None,
                "lm_s": None,
                "vocode_s": None,
                "hit_max": None,
            }
        )
        if wavs:
            (folder / "wavs").mkdir(exist_ok=True)
            tone = 0.3 * np.sin(0.05 * np.arange(16_000))
            soundfile.write(folder / f"wavs/u{i}.wav", tone, 16_000)
    card = {"layer_plan": list(plan), "n_parameters": 5_000_000}
    recipes = {"wer": {"profile": "seedtts", "language": "en", "asr": f"asr-{protocol}"}}
    put_evaluation(folder.parent, name, rows, seed=seed, recipes=recipes, card=card)


@pytest.fixture
def board(tmp_path) -> Path:
    for number, name in enumerate(("teacher", EVIL, "1to1-blockbeg", "1to3-blockbeg", "1to1-kl")):
        evaluation(tmp_path / "results", name, rate=0.05 * (number + 1), wavs=number < 2)
    evaluation(tmp_path / "results", "elsewhere", protocol="q")
    return write_board(
        tmp_path / "results", tmp_path / "board", QUIET, title=EVIL, baseline="teacher", n_worst=3
    )


def test_what_may_not_be_ranked_stands_apart(board, tmp_path):
    groups = make_groups(find_evaluations(tmp_path / "results"), "teacher")
    assert [len(group.entries) for group in groups] == [5, 1]
    rates = [entry.line.wer.point for entry in groups[0].entries]
    assert rates == sorted(rates) and groups[0].entries[0].line.difference is None
    assert groups[0].entries[1].line.difference is not None
    assert groups[1].entries[0].line.difference is None, "its baseline has another protocol"
    page = board.read_text()
    assert page.count('<table class="board">') == 2
    assert "asr-p" in page and "asr-q" in page


def test_the_grid_has_ratios_in_order_and_gaps_for_what_is_not_there(board, tmp_path):
    [group, other] = make_groups(find_evaluations(tmp_path / "results"), None)
    grid = grid_of(group)
    assert list(grid["wer"].columns) == ["1to1", "1to3"]
    assert np.isnan(grid["wer"].loc["kl", "1to3"]) and grid_of(other) is None
    assert "1:3" in board.read_text()


def test_everything_is_escaped_and_nothing_loaded_from_elsewhere(board):
    pages = [board, *sorted((board.parent / "systems").glob("*.html"))]
    assert len(pages) == 7
    for page in pages:
        content = page.read_text()
        assert "<b>x" not in content and 'alert("x")</script>' not in content
        assert not re.search(r"https?://|@import|url\((?!['\"]?(#|data:))", content)
        for link in re.findall(r'(?:href|src)="([^"]*)"', content):
            local = (page.parent / link).resolve()
            assert link.startswith(("data:", "#")) or local.is_file(), link
    assert "&lt;script&gt;" in pages[1].read_text()


def test_a_systems_page_has_its_worst_sentences_with_players(board):
    page = (board.parent / "systems/teacher.html").read_text()
    assert page.count("<audio") == 3 == page.count("data:audio/mpeg")
    rates = [int(n) for n in re.findall(r'class="chips">WER (\d+) %', page)]
    assert rates == sorted(rates, reverse=True) and len(rates) == 3
    assert "3–5" in page and "31–45" in page
    assert (board.parent / "board.md").read_text().count("| teacher |") == 1


def test_published_rows_are_shown_greyed_on_their_own_test_set_only(tmp_path):
    evaluation(tmp_path / "r", "ours", utterances=1088)
    page = write_board(tmp_path / "r", tmp_path / "b", QUIET, title="t").read_text()
    assert "not ranked" in page and "MamTra 1:11" in page and "F5-TTS" in page
    ranked = page[page.index('class="board"') : page.index("Published by others")]
    assert "F5-TTS" not in ranked


def test_seeds_have_pages_of_their_own(tmp_path):
    for seed in (0, 1):
        evaluation(tmp_path / "r", "ours", seed=seed)
    page = write_board(tmp_path / "r", tmp_path / "b", QUIET, title="t").read_text()
    assert ">seed</th>" in page and "ours-seed0-" in page and "ours-seed1-" in page
    assert len(list((tmp_path / "b/systems").glob("*.html"))) == 2


def test_names_that_would_be_one_file_name_have_two_pages(tmp_path):
    for name in ("a b", "a_b", "50%"):
        evaluation(tmp_path / "r", name)
    write_board(tmp_path / "r", tmp_path / "b", QUIET, title="t")
    assert len(list((tmp_path / "b/systems").glob("*.html"))) == 3


@pytest.mark.slow
def test_forty_systems_of_a_whole_test_set(tmp_path):
    for number in range(40):
        evaluation(tmp_path / "r", f"system {number}", utterances=1088)
    started = time.perf_counter()
    index = write_board(
        tmp_path / "r", tmp_path / "b", QUIET, title="t", baseline="system 0", audio=False
    )
    assert index.stat().st_size < 2_000_000
    print(f"40 systems in {time.perf_counter() - started:.0f} s")
    assert len(list((tmp_path / "b/systems").glob("*.html"))) == 40


def in_browser(page: Path, script: str, profile: Path) -> dict:
    """The JSON that `script` (an async function body) returns on a copy of the page."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no Chromium or Chrome on the PATH")
    copy = page.with_name("probe.html")
    probe = (
        f"<script>(async () => {{ {script} }})().then(r => "
        "document.documentElement.dataset.found = JSON.stringify(r))</script>"
    )
    copy.write_text(page.read_text().replace("</body>", probe + "</body>"))
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--autoplay-policy=no-user-gesture-required", "--enable-logging=stderr"),
        *(f"--user-data-dir={profile}", "--virtual-time-budget=8000", "--dump-dom", copy.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    copy.unlink()
    assert not re.findall(r"CONSOLE.*(?:error|Uncaught|Refused|Failed).*", done.stderr)
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&").replace("&lt;", "<"))


def test_sorting_and_filtering_in_a_browser(board, tmp_path):
    script = """
    const table = document.querySelector(".board"), heads = [...table.tHead.rows[0].cells];
    const rows = () => [...table.tBodies[0].rows].filter(row => !row.hidden);
    const names = () => rows().map(row => row.cells[0].textContent.trim());
    const found = {first: names()};
    const rate = heads.findIndex(h => h.textContent.startsWith("WER %"));
    heads[rate].click(); found.down = names(); heads[rate].click(); found.up = names();
    heads[0].click(); found.byName = names();
    const field = document.querySelector("input[type=search]");
    field.value = "1TO1"; field.dispatchEvent(new Event("input")); found.filtered = names();
    found.count = document.querySelector(".count").textContent;
    found.wide = document.documentElement.scrollWidth <= window.innerWidth;
    return found;
    """
    found = in_browser(board, script, tmp_path / "profile")
    assert found["up"] == found["first"] and found["down"] == found["first"][::-1]
    plain = [name for name in found["byName"] if "<" not in name]
    assert found["first"][0] == "teacher" and plain == sorted(plain) and len(plain) == 4
    assert sorted(found["filtered"]) == ["1to1-blockbeg", "1to1-kl"]
    assert found["count"] == "2 of 5" and found["wide"]


def test_players_play_in_a_browser(board, tmp_path):
    script = """
    const audio = document.querySelector("audio");
    audio.muted = true;
    await new Promise(done => { if (audio.readyState >= 1) done(); else audio.onloadedmetadata = done; });
    await audio.play();
    return {seconds: audio.duration, paused: audio.paused, error: audio.error};
    """
    found = in_browser(board.parent / "systems/teacher.html", script, tmp_path / "profile")
    assert 0.9 < found["seconds"] < 1.2 and found["error"] is None and not found["paused"]
