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


def test_voices_are_the_lists_else_the_prompts_whole_path_else_the_utterances(folder):
    for speaker in ("spk1", "spk2"):
        (folder / speaker).mkdir()
        soundfile.write(folder / speaker / "prompt.wav", 0.1 * np.ones(1600), 16000)
    lines = [f"{s}|hi|{s}/prompt.wav|text" for s in ("spk1", "spk2")]
    lines += ["c|hi|spk1/prompt.wav|text|r.wav|ann", "d|hi|spk2/prompt.wav|text||ann", "e|text"]
    one, two, c, d, e = read_meta(write(folder, "\n".join(lines)))
    assert one.voice == str(folder / "spk1/prompt.wav") != two.voice
    assert (c.voice, d.voice, e.voice) == ("ann", "ann", "e")
    assert c.recording == folder / "r.wav" and d.recording is None


def test_recordings_of_four_fields_lie_beside_the_list(folder):
    (folder / "wavs").mkdir()
    soundfile.write(folder / "wavs/a.wav", 0.1 * np.ones(1600), 16000)
    a, b = read_meta(write(folder, "a|hi|p.wav|four\nb|hi|p.wav|four\n"))
    assert a.recording == folder / "wavs/a.wav" and b.recording is None
    assert with_recording([a, b]) == (a,)


def test_prompts_are_demanded_only_where_they_are_needed(folder):
    path = write(folder, "a|hi|nowhere.wav|text\n")
    [item] = read_meta(path, need_prompts=False)
    assert item.prompt_wav == folder / "nowhere.wav"
    with pytest.raises(InputError, match="no such file"):
        read_meta(path)


def test_brackets_quotes_and_odd_spaces_in_paths_and_texts(folder):
    name = "it's [hifi] \u00a0“p”\u200b.wav"
    soundfile.write(folder / name, 0.1 * np.ones(1600), 16000)
    [item] = read_meta(write(folder, f"a [1] 'b'|[hi] \"x\"|{name}|no\u00a0break [/bold]\n"))
    assert item.prompt_wav == folder / name and item.text == "no\u00a0break [/bold]"
    with pytest.raises(InputError, match=r"\[hifi\]/none\.wav: no such file"):
        read_meta(write(folder, "a|hi|[hifi]/none.wav|text\n"))


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
        ("a|b|c|d|e|f|g", "malformed line: 7 field"),
        ("x|hi|p.wav|text|r.wav|", "empty voice"),
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
    with pytest.raises(InputError, match=r"no such test set: .*none\.lst; .* testset\.meta=<file>"):
        read_meta(folder / "none.lst")
    with pytest.raises(InputError, match="empty"):
        read_meta(write(folder, "\n"))
