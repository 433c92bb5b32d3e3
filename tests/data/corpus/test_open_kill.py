"""The open corpus, killed while it makes recordings: the same bytes as without. The voice is a stand-in."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BUILD = """
import json, sys, time
from pathlib import Path
import numpy as np
from data.corpus import open_build
from data.corpus.build import Utterance
from data.corpus.voices import Reading, draw_voices

class Renderer:
    def __init__(self, threads):
        pass

    def read(self, text, length_scale):
        wave = np.random.default_rng(len(text)).uniform(-0.5, 0.5, 8000)
        return Reading(wave, ("^", "a", "$"), np.array([400, 4000, 8000]))

    def speak(self, reading, voice, length_scale):
        time.sleep(0.1)
        return reading

open_build.SHARD, open_build.Renderer = 2, Renderer
texts, out = json.loads(sys.argv[1]), Path(sys.argv[2])
voices = draw_voices(3, 1, (1.0, 1.15))
rows = [Utterance(f"test-{i:04d}", "test", t, voices[i % 3].name) for i, t in enumerate(texts)]
rows += [Utterance(f"prompt-{v.name}-0", "prompt", texts[0], v.name) for v in voices]
if __name__ == "__main__":
    open_build.write_corpus(open_build.render(rows, voices, out, "held-out", 1), out)
"""
TEXTS = (
    "The old man mended the fence before the storm.",
    "Where did you leave the keys?",
    "She promised to write, and she did.",
    "Most of them had never seen the sea.",
    "He laughed at his own joke.",
    "The price of bread has doubled.",
)

pytestmark = pytest.mark.slow


def started(script: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, str(script), json.dumps(TEXTS), str(out)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_build_that_is_killed_makes_the_same_bytes(tmp_path):
    script = tmp_path / "build.py"
    script.write_text(BUILD)
    whole = started(script, tmp_path / "whole")
    said, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0, said.decode()[-2000:]
    expected = files(tmp_path / "whole")
    assert len([name for name in expected if name.endswith(".wav")]) == len(TEXTS) + 3

    wavs = tmp_path / "killed" / "wavs"
    for made in (1, 2, 5):  # in the middle of a shard, and between two
        one = started(script, tmp_path / "killed")
        while len(list(wavs.glob("*.wav"))) < made and one.poll() is None:
            time.sleep(0.01)
        assert one.poll() is None, "it ended before it was killed"
        os.killpg(one.pid, signal.SIGKILL)  # its worker, too
        one.communicate()
    last = started(script, tmp_path / "killed")
    said, _ = last.communicate(timeout=300)
    assert last.returncode == 0, said.decode()[-2000:]
    found = files(tmp_path / "killed")
    assert not [name for name in found if "partial" in name]
    assert found == expected
