"""Any system's folder of wavs through evaluate.py: the whole way, with the models that ship."""

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from rich.console import Console

from eval.store.evaluations import read_evaluation
from eval.store.files import InputError
from eval.synthesis.build import name_systems, wav_system
from eval.testset import parse_shard, read_meta

ROOT = Path(__file__).resolve().parents[2]
META = ROOT / "assets/mini/meta.lst"
LIMIT = 6


@pytest.fixture(scope="module")
def wavs(tmp_path_factory) -> Path:
    """The original recordings as another system's output."""
    folder = tmp_path_factory.mktemp("F5")
    for item in read_meta(META, LIMIT):
        samples, rate_hz = soundfile.read(item.recording)
        soundfile.write(folder / f"{item.utterance}.wav", samples, rate_hz)
    return folder


# Nothing here may need a network.
OFFLINE = """
import runpy, socket, sys

def refuse(*_):
    raise OSError("the network is shut off in this test")

socket.socket.connect = socket.getaddrinfo = refuse
runpy.run_path(sys.argv[0] + "/evaluate.py", run_name="__main__")
"""


def evaluate(*arguments: str) -> subprocess.CompletedProcess:
    start = OFFLINE.replace("sys.argv[0]", repr(str(ROOT)))
    scoring = [f"limit={LIMIT}", "mos=null", "testset.tokens=null"]
    command = [sys.executable, "-c", start, "threads=1"]
    if not any(argument.startswith("stage=") for argument in arguments):
        command += scoring
    return subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=ROOT)


def cached(path: Path) -> int:
    """Values in a cache of metric values, 0 while it is not there."""
    if not path.is_file():
        return 0
    with sqlite3.connect(path) as cache:
        try:
            return cache.execute("SELECT count(*) FROM value WHERE key LIKE 'asr-%'").fetchone()[0]
        except sqlite3.OperationalError:
            return 0


@pytest.mark.weights
@pytest.mark.slow
def test_a_folder_of_wavs_from_validation_to_comparison(wavs, tmp_path):
    cache, first = f"cache={tmp_path / 'cache'}", tmp_path / "results/a"
    done = evaluate(f"wavs={wavs}", "name=F5-TTS", f"out={first}", cache)
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(first / "leaderboard.csv")
    assert list(table["system"]) == ["F5-TTS"] and table["wer_corpus"][0] < 0.25
    [scored] = read_evaluation(first)

    # Two shards of the same, from the same cache: no model is called, and the rows are the same.
    second = tmp_path / "sharded"
    for shard in ("1/2", "0/2"):
        unready = evaluate("stage=report", f"out={second}")
        assert unready.returncode == 2, unready.stdout
        part = evaluate(f"wavs={wavs}", "name=F5-TTS", f"out={second}", cache, f"shard={shard}")
        assert part.returncode == 0 and "0 model calls" in part.stdout, part.stdout
    [sharded] = read_evaluation(second)
    assert sharded.rows == scored.rows and sharded.recipes == scored.recipes
    assert evaluate("stage=report", f"out={second}").returncode == 0

    broken = tmp_path / "broken"
    shutil.copytree(wavs, broken)
    names = sorted(path.stem for path in broken.iterdir())
    (broken / f"{names[0]}.wav").unlink()
    soundfile.write(broken / f"{names[1]}.wav", np.zeros(16_000), 16_000)
    (broken / "extra.wav").write_bytes(b"")
    arguments = (f"wavs={broken}", "name=half", f"out={tmp_path / 'results/b'}", cache)
    done = evaluate(*arguments)
    assert done.returncode == 1 and "4 of 6 are ok (1 missing, 1 silent)" in done.stdout
    assert "1 files of other names" in done.stdout and "1 of 6 files are missing" in done.stdout
    assert evaluate(*arguments, "allow_partial=true").returncode == 0

    found = evaluate("stage=compare", f"results={tmp_path / 'results'}", "baseline=F5-TTS")
    assert found.returncode == 0, found.stdout
    compared = pd.read_csv(tmp_path / "results/compare.csv")
    assert compared["measure"][0] == "wer" and compared["system"][0] == "half"
    assert compared["difference"][0] > 0.2
    manifest = json.loads((first / "manifest.json").read_text())
    facts = manifest["systems"]["F5-TTS"]
    assert (
        facts["metrics"]["wer"]["profile"]["name"] == "seedtts" and len(facts["meta_sha256"]) == 64
    )
    assert manifest["runs"][0]["settings"]["limit"] == LIMIT and manifest["runs"][0]["git"]


@pytest.mark.weights
@pytest.mark.slow
def test_two_devices_share_the_work_of_two_folders_in_names_with_any_characters(wavs, tmp_path):
    odd = tmp_path / "It's [mine], a\u00a0b"
    odd.mkdir()
    [first, *_] = sorted(wavs.iterdir())
    shutil.copy(first, odd)
    out = tmp_path / "o, [x]"
    folders = f"wavs=[{wavs},{json.dumps(str(odd), ensure_ascii=False)}]"
    done = evaluate(folders, f"out={out}", "device=[cpu,cpu]", f"cache={tmp_path / 'c'}")
    assert done.returncode == 1, done.stdout + done.stderr  # words of missing files are lost
    assert "shard 1/2" in done.stdout and f"{LIMIT - 1} count as WER 100 %" in done.stdout
    complete, partial = read_evaluation(out)
    assert complete.name == wavs.name and partial.name == odd.name
    assert len(partial.rows) == LIMIT and [r["status"] for r in partial.rows].count("ok") == 1
    assert "5 of 6 files are missing" in (out / "shard-0of2.log").read_text()
    assert (out / "report.html").is_file()


@pytest.mark.weights
@pytest.mark.slow
def test_a_killed_evaluation_ends_with_the_same_bytes(wavs, tmp_path):
    def command(name: str) -> list[str]:
        given = [
            f"wavs={wavs}",
            "name=x",
            f"out={tmp_path / name}",
            f"cache={tmp_path / name}-cache",
        ]
        options = [f"limit={LIMIT}", "mos=null", "threads=1", "testset.tokens=null"]
        return [sys.executable, str(ROOT / "evaluate.py"), *options, *given]

    subprocess.run(command("whole"), check=True, capture_output=True, cwd=ROOT)
    running = subprocess.Popen(command("cut"), stdout=subprocess.DEVNULL, cwd=ROOT)
    for _ in range(600):  # until a transcript or two are there
        if cached(tmp_path / "cut-cache/metrics.sqlite") >= 2:
            break
        time.sleep(0.1)
    running.kill()
    assert running.wait() == -9 and not (tmp_path / "cut/leaderboard.csv").exists()
    done = subprocess.run(command("cut"), check=True, capture_output=True, text=True, cwd=ROOT)
    assert ", 0 model calls" not in done.stdout and "model calls" in done.stdout
    [cut], [whole] = read_evaluation(tmp_path / "cut"), read_evaluation(tmp_path / "whole")
    assert cut.rows == whole.rows and cut.recipes == whole.recipes
    for name in ("leaderboard.csv", "leaderboard.md"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_folders_that_will_not_do(wavs, tmp_path):
    items, console = read_meta(META, LIMIT), Console(quiet=True)
    with pytest.raises(InputError, match="no such folder"):
        wav_system("x", tmp_path / "none", items, tmp_path, console)
    (tmp_path / "odd").mkdir()
    soundfile.write(tmp_path / "odd/other.wav", np.zeros(10), 16_000)
    with pytest.raises(InputError, match="holds 1 wav files, none of them of the 6"):
        wav_system("x", tmp_path / "odd", items, tmp_path, console)
    with pytest.raises(InputError, match="plain folder name"):
        name_systems(None, {"../x": str(wavs)})


def test_shards():
    assert parse_shard("2/8") == (2, 8)
    for bad in ("8/8", "1", "a/b", "-1/2", ""):
        with pytest.raises(InputError, match="shard is i/n"):
            parse_shard(bad)
