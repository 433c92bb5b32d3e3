"""The check of a user's folders: what is missing is named, with where to get it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.test_lists import main as build_list
from tools import check_data
from tools.check_data import check_libritts, check_lists, check_model, check_seedtts


@pytest.fixture
def libritts(tmp_path, monkeypatch) -> Path:
    """Two recordings of ten readers each in a subset that should have twenty."""
    monkeypatch.setattr(check_data, "LIBRITTS", {"test-clean": 20})
    for n in range(20):
        folder = tmp_path / f"LibriTTS/test-clean/{n // 2}/1"
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"u{n:02d}.wav", np.full(8000 * 4, 0.1), 8000)
        (folder / f"u{n:02d}.normalized.txt").write_text(f"the garden {'was quiet ' * n}\n")
    return tmp_path / "LibriTTS"


def test_whole_and_incomplete_libritts(libritts):
    [check] = check_libritts(libritts)
    assert (check.found, check.remedy) == ("20 recordings", "")
    (libritts / "test-clean/3/1/u06.normalized.txt").unlink()
    (libritts / "test-clean/5/1/u11.wav").unlink()
    [check] = check_libritts(libritts)
    assert check.found == "19 of 20 recordings; no text for 1, the first u06"
    assert "openslr.org/60" in check.remedy and "test-clean.tar.gz" in check.remedy


def test_seedtts_lists(tmp_path, monkeypatch):
    monkeypatch.setattr(check_data, "SEEDTTS", {"en/meta.lst": 2})
    [check] = check_seedtts(tmp_path)
    assert "no such test set" in check.found and "seed-tts-eval" in check.remedy
    (tmp_path / "en").mkdir()
    soundfile.write(tmp_path / "en/p.wav", np.full(800, 0.1), 8000)
    lines = ["a|hi|p.wav|go on", "b|hi|p.wav|stop"]
    (tmp_path / "en/meta.lst").write_text("\n".join(lines))
    assert not next(check_seedtts(tmp_path)).remedy
    (tmp_path / "en/meta.lst").write_text(lines[0])
    assert next(check_seedtts(tmp_path)).found.endswith("1 of 2 lines")


def test_a_list_that_was_changed(libritts, tmp_path, monkeypatch):
    for kind in ("zero_shot", "length_stress"):
        given = [f"root={libritts}", f"out={tmp_path / 'lists' / kind}", f"kind={kind}"]
        monkeypatch.setattr(sys, "argv", ["x", *given])
        build_list()
    assert not any(check.remedy for check in check_lists(tmp_path / "lists"))
    path = tmp_path / "lists/zero_shot/meta.lst"
    path.write_text(path.read_text().replace("garden", "Garden"))
    changed, same = check_lists(tmp_path / "lists")
    assert "has been changed" in changed.found and "kind=zero_shot" in changed.remedy
    assert not same.remedy


def test_a_model_folder_with_nothing_or_pointers(tmp_path):
    found = list(check_model(tmp_path))
    assert all(check.remedy for check in found) and "modelscope" in found[0].remedy
    assert "llm.pt: no such file" in found[0].found
    (tmp_path / "llm.pt").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "git lfs pull" in next(check_model(tmp_path)).found
    (tmp_path / "speech_tokenizer_v3.onnx").touch()
    assert "CosyVoice 3" in list(check_model(tmp_path))[1].found


def test_the_command_says_what_is_missing_and_fails(libritts, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", f"libritts={libritts}"])
    with pytest.raises(SystemExit) as stop:
        check_data.main()
    assert stop.value.code == 0 and "20 recordings" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["x", f"libritts={libritts}", "seedtts=[nowhere]"])
    with pytest.raises(SystemExit) as stop:
        check_data.main()
    out = capsys.readouterr().out
    assert stop.value.code == 1 and "missing" in out and "[nowhere]" in out
