"""Any system's folder of wavs through evaluate.py: the whole way, with the models that ship."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from rich.console import Console

from eval.store.files import InputError
from eval.synthesis.build import wav_system
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
    command = [sys.executable, "-c", start, f"limit={LIMIT}", "mos=null", "threads=1"]
    return subprocess.run(
        [*command, "testset.tokens=null", *arguments], capture_output=True, text=True, cwd=ROOT
    )


@pytest.mark.weights
@pytest.mark.slow
def test_a_folder_of_wavs_from_validation_to_comparison(wavs, tmp_path):
    cache, first = f"cache={tmp_path / 'cache'}", tmp_path / "results/a"
    done = evaluate(f"wavs={wavs}", "name=F5-TTS", f"out={first}", cache)
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(first / "leaderboard.csv")
    assert list(table["system"]) == ["F5-TTS"] and table["wer_corpus"][0] < 0.25
    scores = (first / "F5-TTS/scores.jsonl").read_bytes()

    # Two shards of the same, from the same cache: no model is called, and the bytes are the same.
    second = tmp_path / "sharded"
    for shard in ("1/2", "0/2"):
        part = evaluate(f"wavs={wavs}", "name=F5-TTS", f"out={second}", cache, f"shard={shard}")
        assert part.returncode == 0 and "0 model calls" in part.stdout, part.stdout
    assert (second / "F5-TTS/scores.jsonl").read_bytes() == scores

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
    assert compared["system"][0] == "half" and compared["wer_difference"][0] > 0.2
    manifest = json.loads((first / "manifest.json").read_text())
    assert manifest["protocol"]["profile"] == "seedtts" and len(manifest["meta_sha256"]) == 64


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
        if len(list((tmp_path / "cut-cache").glob("asr-*/*/*.json"))) >= 2:
            break
        time.sleep(0.1)
    running.kill()
    assert running.wait() == -9 and not (tmp_path / "cut/leaderboard.csv").exists()
    done = subprocess.run(command("cut"), check=True, capture_output=True, text=True, cwd=ROOT)
    assert ", 0 model calls" not in done.stdout and "model calls" in done.stdout
    for name in ("leaderboard.csv", "leaderboard.md", "x/scores.jsonl"):
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
        wav_system("../x", wavs, items, tmp_path, console)


def test_shards():
    assert parse_shard("2/8") == (2, 8)
    for bad in ("8/8", "1", "a/b", "-1/2", ""):
        with pytest.raises(InputError, match="shard is i/n"):
            parse_shard(bad)
