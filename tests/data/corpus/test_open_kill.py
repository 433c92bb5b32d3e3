"""The open corpus, killed while it makes recordings: the same bytes as without. The voice is a stand-in."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BUILD = """
import json, os, signal, sys
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
        if len(list((out / "wavs").glob("*.wav"))) >= int(sys.argv[3]):
            os.killpg(0, signal.SIGKILL)  # all of the build, at once
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


def build(script: Path, out: Path, die_at: int = 99) -> subprocess.CompletedProcess:
    """Its last words; `die_at` is the number of recordings that are there when it is killed."""
    command = [sys.executable, str(script), json.dumps(TEXTS), str(out), str(die_at)]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_build_that_is_killed_makes_the_same_bytes(tmp_path):
    script = tmp_path / "build.py"
    script.write_text(BUILD)
    whole = build(script, tmp_path / "whole")
    assert whole.returncode == 0, whole.stdout.decode()[-2000:]
    expected = files(tmp_path / "whole")
    assert len([name for name in expected if name.endswith(".wav")]) == len(TEXTS) + 3

    for made in (1, 2, 5, 8):  # in the middle of a shard, and between two
        assert build(script, tmp_path / "killed", made).returncode == -signal.SIGKILL
        assert len(list((tmp_path / "killed" / "wavs").glob("*.wav"))) >= made
    last = build(script, tmp_path / "killed")
    assert last.returncode == 0, last.stdout.decode()[-2000:]
    found = files(tmp_path / "killed")
    assert not [name for name in found if "partial" in name]
    assert found == expected
