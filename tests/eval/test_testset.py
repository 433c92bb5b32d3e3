"""Test lists: good forms parse, and every bad line is named before anything else happens."""

import numpy as np
import pytest
import soundfile

from eval.store.files import InputError
from eval.testset import read_meta, with_recording


@pytest.fixture
def folder(tmp_path):
    soundfile.write(tmp_path / "p.wav", 0.1 * np.ones(1600), 16000)
    return tmp_path


def write(folder, text: str):
    path = folder / "meta.lst"
    path.write_text(text, encoding="utf-8")
    return path


def test_two_to_five_fields(folder):
    text = "a|hi|p.wav|five|r.wav\nb|hi|p.wav|four\nc.wav|three|p.wav\nd|two\n\n"
    a, b, c, d = read_meta(write(folder, text))
    assert (a.text, a.prompt_text, a.prompt_wav) == ("five", "hi", folder / "p.wav")
    assert a.recording == folder / "r.wav" and b.recording is None
    assert (c.utterance, c.text, c.prompt_text) == ("c", "three", "")
    assert (d.utterance, d.prompt_wav) == ("d", None)
    assert with_recording([a, b, c, d]) == ()


def test_limit_keeps_the_first_items_but_checks_every_line(folder):
    assert len(read_meta(write(folder, "a|x\nb|y\nc|z\n"), limit=2)) == 2
    with pytest.raises(InputError, match=r"meta\.lst:3: duplicate"):
        read_meta(write(folder, "a|x\nb|y\na|z\n"), limit=1)
    with pytest.raises(InputError, match="at least 1"):
        read_meta(write(folder, "a|x\n"), limit=0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("only-one-field", "malformed line"),
        ("a|b|c|d|e|f", "malformed line: 6 field"),
        ("../up|text", "contains a path"),
        ("/etc/x|text", "contains a path"),
        ("a\\b|text", "contains a path"),
        ("|text", "empty utterance id"),
        ("x|", "empty text"),
        ("x|hi||text", "empty prompt wav"),
        ("x||p.wav|text", "empty prompt text"),
        ("x|hi|nowhere.wav|text", "no such file"),
        ("ok|again", "duplicate utterance id 'ok', first used in line 1"),
    ],
)
def test_bad_lines_are_named_with_their_number(folder, line, message):
    with pytest.raises(InputError) as error:
        read_meta(write(folder, f"ok|fine\n{line}\n"))
    assert "meta.lst:2:" in str(error.value) and message in str(error.value)


def test_an_unreadable_prompt_is_named(folder):
    (folder / "bad.wav").write_bytes(b"RIFF but no more")
    with pytest.raises(InputError, match=r"meta\.lst:1: prompt wav .*bad\.wav: not readable"):
        read_meta(write(folder, "a|hi|bad.wav|text\n"))


def test_all_faults_are_listed_at_once(folder):
    with pytest.raises(InputError) as error:
        read_meta(write(folder, "a|\nb/c|x\nd|hi|no.wav|t\n"))
    assert all(f"meta.lst:{n}:" in str(error.value) for n in (1, 2, 3))


def test_missing_and_empty_lists(folder):
    with pytest.raises(InputError, match="no such test set"):
        read_meta(folder / "none.lst")
    with pytest.raises(InputError, match="empty"):
        read_meta(write(folder, "\n"))
