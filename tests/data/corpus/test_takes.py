"""Second readings of test sentences: which, in whose voice, none twice. No audio is rendered."""

import json
from dataclasses import asdict
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import soundfile as sf

from data.corpus import takes as module
from data.corpus.takes import first_rows, takes
from data.corpus.voices import UnreadableTextError, draw_voices
from tests.data.in_this_process import in_this_process


class Reader:
    """In the place of Piper and Praat."""

    heard: ClassVar[list[tuple[str, float]]] = []

    def __init__(self, threads):
        pass

    def read(self, text, length_scale):
        if "&" in text:
            raise UnreadableTextError(text)
        Reader.heard.append((text, length_scale))
        return text

    def speak(self, reading, voice, length_scale):
        return SimpleNamespace(wave=np.full(160, 0.1))


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "worker_processes", in_this_process)
    monkeypatch.setattr(module, "as_completed", list)
    monkeypatch.setattr(module, "Renderer", Reader)
    monkeypatch.setattr(Reader, "heard", [])
    voices = draw_voices(2, 0, (1.0, 1.2))
    (tmp_path / "voices.json").write_text(json.dumps({"voices": [asdict(v) for v in voices]}))
    lines = [f"t{i}|p|p.wav|text {i}|r.wav|{voices[i % 2].name}" for i in range(5)]
    lines[1] = lines[1].replace("text 1", "a & b")
    (tmp_path / "meta.lst").write_text("\n".join(lines) + "\n")
    (tmp_path / "takes").mkdir()
    return tmp_path, voices


def test_the_first_sentences_are_read_in_their_own_voice_and_once(corpus, capsys):
    folder, voices = corpus
    assert takes(folder, folder / "takes", limit=3) == 2
    assert Reader.heard == [("text 0", voices[0].length_scale), ("text 2", voices[0].length_scale)]
    assert "t1 was not read as one sentence" in capsys.readouterr().out
    assert sf.info(folder / "takes" / "t0.wav").samplerate == 16_000
    takes(folder, folder / "takes", limit=4)
    assert [text for text, _ in Reader.heard[2:]] == ["text 3"]


def test_what_is_missing_is_named(corpus):
    folder, _ = corpus
    with pytest.raises(FileNotFoundError, match=r"no\.lst is missing: .*open_build"):
        first_rows(folder / "no.lst", 3)
    (folder / "five.lst").write_text("a|b|c|d|e\n")
    with pytest.raises(ValueError, match=r"five\.lst:1: 5 fields; six"):
        first_rows(folder / "five.lst", 3)
    meta = folder / "meta.lst"
    meta.write_text(meta.read_text().rsplit("|", 1)[0] + "|v99\n")
    with pytest.raises(ValueError, match=r"voices\.json has no voice v99"):
        takes(folder, folder / "takes")
