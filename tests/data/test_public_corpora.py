"""Folders in the form of public corpora become manifests; what is missing is named."""

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from data.public_corpora import build, prompted
from eval.testset import read_meta


def sound(path, rate_hz=22_050, seconds=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, 0.1 * np.sin(np.arange(int(rate_hz * seconds)) / 20), rate_hz)


@pytest.fixture
def lj(tmp_path):
    root = tmp_path / "LJSpeech-1.1"
    for i in range(3):
        sound(root / "wavs" / f"LJ001-000{i}.wav")
    lines = [
        "LJ001-0000|Dr. 5|Doctor Five, it was.",
        "LJ001-0001|x|In 1900 they met.",
        "LJ001-0002|x|",
    ]
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


def test_ljspeech_becomes_a_manifest_of_16_khz_and_stays_when_it_is_made_again(
    lj, tmp_path, capsys
):
    out = tmp_path / "out"
    made = build("ljspeech", lj, out)
    table = pd.read_csv(out / "manifest.csv")
    assert list(table.columns) == ["utterance", "split", "text", "voice", "wav", "duration_s"]
    assert list(table["utterance"]) == ["LJ001-0000", "LJ001-0001"] and len(made) == 2
    assert (
        table["text"][1].startswith("in nineteen hundred")
        and "1 left out" in capsys.readouterr().out
    )
    info = sf.info(out / table["wav"][0])
    assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
    before = (out / "wavs/LJ001-0000.wav").stat().st_mtime_ns
    again = build("ljspeech", lj, out, limit=1)
    assert len(again) == 1 and (out / "wavs/LJ001-0000.wav").stat().st_mtime_ns == before
    assert again["split"][0] == table["split"][0]


@pytest.mark.parametrize("how", ["cut", "flip", "empty"])
def test_a_recording_that_was_damaged_is_converted_again(how, lj, tmp_path):
    out = tmp_path / "out"
    build("ljspeech", lj, out)
    path = out / "wavs/LJ001-0001.wav"
    before = path.read_bytes()
    damaged = {"cut": before[:9000], "empty": b"", "flip": before[:9000] + b"x" + before[9001:]}
    path.write_bytes(damaged[how])
    with (out / "wavs.sha256").open("a") as journal:
        journal.write("deadbeef")  # a line that a kill has cut
    build("ljspeech", lj, out)
    assert path.read_bytes() == before
    (lj / "wavs/LJ001-0001.wav").write_bytes(b"no audio")
    path.unlink()
    with pytest.raises(ValueError, match=r"LJ001-0001\.wav cannot be read"):
        build("ljspeech", lj, out)


def test_libritts_and_vctk(tmp_path):
    libri = tmp_path / "LibriTTS" / "dev-clean" / "84" / "121"
    sound(libri / "84_121_0.wav", 24_000)
    (libri / "84_121_0.normalized.txt").write_text("Go on.\n")
    made = build("libritts", tmp_path / "LibriTTS", tmp_path / "a", ("dev-clean",))
    assert made.to_dict("records")[0] | {"duration_s": 0.5} == {
        "utterance": "84_121_0",
        "split": "valid",
        "text": "go on.",
        "voice": "84",
        "wav": "wavs/84_121_0.wav",
        "duration_s": 0.5,
    }
    root = tmp_path / "VCTK"
    sound(root / "wav48_silence_trimmed" / "p225" / "p225_001_mic1.flac", 48_000)
    (root / "txt" / "p225").mkdir(parents=True)
    (root / "txt" / "p225" / "p225_001.txt").write_text("Please call Stella.")
    [row] = build("vctk", root, tmp_path / "b").to_dict("records")
    assert (row["voice"], row["split"], row["text"]) == ("p225", "test", "please call stella.")


def test_what_is_missing_is_named(lj, tmp_path):
    for kind, why in (("ljspeech", "keithito"), ("vctk", "datashare"), ("libritts", "openslr")):
        with pytest.raises(FileNotFoundError, match=why):
            build(kind, tmp_path / "nothing", tmp_path / "out", ("dev-clean",))
    with pytest.raises(ValueError, match="valid are ljspeech"):
        build("css10", lj, tmp_path / "out")
    (lj / "wavs/LJ001-0001.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"LJ001-0001\.wav is listed"):
        build("ljspeech", lj, tmp_path / "out")
    (lj / "metadata.csv").write_text("LJ001-0000|only two\n")
    with pytest.raises(ValueError, match=r"metadata\.csv:1: 2 fields"):
        build("ljspeech", lj, tmp_path / "out")
    (lj / "metadata.csv").write_text("LJ001-0000|x|\n")
    with pytest.raises(ValueError, match="none of 1 recordings"):
        build("ljspeech", lj, tmp_path / "out")


def test_test_recordings_have_a_list_with_prompts_of_their_voice(tmp_path):
    rows = [
        ("a1", "test", "one", "a", 3.0),
        ("a2", "test", "two", "a", 1.0),  # too short for a prompt
        ("a3", "train", "three", "a", 4.0),
        ("b1", "test", "four", "b", 3.0),  # alone
        ("c1", "train", "five", "c", 3.0),
        ("c2", "test", "six", "c", 3.0),
    ]
    table = pd.DataFrame(rows, columns=["utterance", "split", "text", "voice", "duration_s"])
    table["wav"] = "wavs/" + table["utterance"] + ".wav"
    assert list(prompted(table)) == [
        ("a1", "three", "wavs/a3.wav", "one", "wavs/a1.wav", "a"),
        ("a2", "three", "wavs/a3.wav", "two", "wavs/a2.wav", "a"),
        ("c2", "five", "wavs/c1.wav", "six", "wavs/c2.wav", "c"),
    ]


def test_the_list_is_one_that_evaluation_reads(tmp_path):
    root = tmp_path / "VCTK"
    for name in ("p1_001", "p1_002"):
        sound(root / "wav48_silence_trimmed" / "p1" / f"{name}_mic1.flac", 48_000, 2.5)
        text = root / "txt" / "p1" / f"{name}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("Please call Stella.")
    build("vctk", root, tmp_path / "out")
    first, second = read_meta(tmp_path / "out" / "meta.lst")
    assert first.utterance == "p1_001" and first.voice == second.voice == "p1"
    assert (
        first.prompt_wav == tmp_path / "out/wavs/p1_002.wav"
        and second.prompt_wav.name == "p1_001.wav"
    )
