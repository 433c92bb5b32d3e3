"""Files that appear whole or not at all, also on a full disk; one command at a time in a folder."""

import errno
import os
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pandas as pd
import pytest

from data.whole_files import alone_in, read_note, read_table, whole, write_table

TABLE = pd.DataFrame(
    {"utterance": [f"u{i}" for i in range(500)], "tokens": [[i] for i in range(500)]}
)


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with whole(path) as partial:
        partial.write_text("before")
    with pytest.raises(KeyError), whole(path) as partial:
        partial.write_text("half")
        raise KeyError
    assert path.read_text() == "before" and list(path.parent.iterdir()) == [path]


def test_a_full_disk_is_named_whatever_the_writer_says(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    named = pytest.raises(OSError, match=r"No space left on device: '.*a\.wav'")
    with named as caught, whole(tmp_path / "a.wav"):
        raise RuntimeError("System error.")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("how", ["cut", "flip"])
def test_a_damaged_table_is_named(tmp_path, how):
    path = tmp_path / "part.parquet"
    write_table(path, TABLE)
    assert read_table(path, ["utterance"])["utterance"].tolist() == TABLE["utterance"].tolist()
    content = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 3] ^= 4
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"part\.parquet is damaged .*: delete it"):
        read_table(path)
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.parquet")


def test_a_second_command_waits_and_what_a_killed_one_left_is_removed(tmp_path, capfd):
    folder = tmp_path / "corpus"
    holds = (
        "import sys, time; from pathlib import Path; from data.whole_files import alone_in\n"
        "with alone_in(Path(sys.argv[1])):\n"
        "    Path(sys.argv[1], 'held').touch(); time.sleep(2)\n"
        "    Path(sys.argv[1], 'done').touch(); Path(sys.argv[1], 'a.partial').touch()\n"
    )
    command = [sys.executable, "-c", holds, str(folder)]
    first = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.getcwd()})
    while not (folder / "held").exists():
        assert first.poll() is None
        time.sleep(0.05)
    with alone_in(folder):
        assert (folder / "done").exists() and not (folder / "a.partial").exists()
    assert "is being filled by another command: waiting" in capfd.readouterr().out
    assert first.wait() == 0


def test_a_damaged_note_is_named(tmp_path):
    path = tmp_path / "made_of.json"
    assert read_note(path) is None
    path.write_text('{"text": "phonemes"}')
    assert read_note(path) == {"text": "phonemes"}
    path.write_bytes(path.read_bytes()[:9])
    with pytest.raises(ValueError, match=r"made_of\.json is damaged .*: delete its folder"):
        read_note(path)
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueError, match=r"made_of\.json is damaged"):
        read_note(path)
