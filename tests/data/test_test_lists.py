"""Test lists from a small LibriTTS that is made here: real layout, noise for speech."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.libritts import scan
from data.test_lists import (
    BINS,
    N_PROMPTS,
    length_stress,
    main,
    readable,
    spread,
    write_list,
    zero_shot,
)
from eval.testset import read_meta

WORDS = (
    "a",
    "quiet",
    "garden",
    "lies",
    "behind",
    "the",
    "old",
    "stone",
    "house",
    "nobody",
    "walked",
)


def words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(count))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """12 readers x 2 chapters x 14 sentences of 1 to 60 words; 4 s for one in three, 1 s for the rest."""
    home, rng = tmp_path_factory.mktemp("LibriTTS"), random.Random(0)
    for reader in range(12):
        for chapter in range(2):
            folder = home / "test-clean" / str(100 + reader) / str(chapter)
            folder.mkdir(parents=True)
            for number in range(14):
                stem = f"{100 + reader}_{chapter}_{number:06d}_000000"
                seconds = 4 if number % 3 == 0 else 1
                soundfile.write(folder / f"{stem}.wav", np.full(8000 * seconds, 0.1), 8000)
                text = words(rng, rng.randint(1, 60))
                (folder / f"{stem}.normalized.txt").write_text(text + "\n")
    first = home / "test-clean/100/0/100_0_000001_000000"
    first.with_suffix(".normalized.txt").write_text("in 1984\n")
    return home


@pytest.fixture(scope="module")
def utterances(root):
    return scan(root, ["test-clean"])


def test_zero_shot_prompts_are_other_recordings_of_the_reader(utterances):
    lines, dropped = zero_shot(utterances, seed=0)
    assert len(lines) + sum(dropped.values()) == len(utterances) == 336
    assert dropped["no readable text"] == 1 and dropped["too long or short"] > 100
    for line in lines:
        assert line.name.split("_")[0] == line.prompt.voice and line.prompt.name != line.name
        assert soundfile.info(line.prompt.wav).duration == 4
        assert 1 <= len(line.text.split()) <= 27
    assert lines == zero_shot(utterances, seed=0)[0] != zero_shot(utterances, seed=1)[0]
    # The prompt of a line does not hang on which others are there.
    some = [u for u in utterances if u.voice in ("105", "106")]
    assert zero_shot(some, 0)[0] == [line for line in lines if line.prompt.voice in ("105", "106")]


def test_length_stress_fills_each_bin_evenly(utterances):
    lines, lacking = length_stress(utterances, seed=0)
    by_bin = {
        name: [ln for ln in lines if ln.name.startswith(f"words-{name[0]:03d}")] for name in BINS
    }
    for (low, high), found in by_bin.items():
        lengths = [len(line.text.split()) for line in found]
        assert all(low <= n <= high for n in lengths) and len(found) <= 50
        reported = lacking.get(f"{low}-{high} words: texts lacking", 0)
        assert len(found) + reported == 50
        prompts = [line.prompt.name for line in found]
        if found:  # no voice is told by the length of its texts
            most = max(prompts.count(p) for p in prompts)
            assert most <= len(found) / N_PROMPTS + 3
    assert len({line.prompt.name for line in lines}) == N_PROMPTS
    assert len({line.text for line in lines}) == len(lines) == len({line.name for line in lines})
    assert all(line.recording is None for line in by_bin[(121, 250)]) and by_bin[(121, 250)]
    assert all(ln.recording.parent != ln.prompt.wav.parent for ln in lines if ln.recording)


def test_long_texts_are_consecutive_sentences(utterances):
    texts = {u.text: u for u in utterances}
    lines, _ = length_stress(utterances, seed=0)
    long = [line for line in lines if line.recording is None]
    ordered = sorted(utterances, key=lambda u: u.name)
    joined = {}
    for i in range(len(ordered)):
        for j in range(i + 1, min(i + 15, len(ordered) + 1)):
            if len({u.wav.parent for u in ordered[i:j]}) == 1:
                joined[" ".join(u.text for u in ordered[i:j])] = True
    assert long and all(line.text in joined and line.text not in texts for line in long)


def test_the_list_is_the_same_wherever_the_corpus_lies(root, utterances, tmp_path):
    moved = tmp_path / "elsewhere" / "LibriTTS"
    moved.parent.mkdir()
    moved.symlink_to(root)
    found = []
    for corpus, out in (
        (root, tmp_path / "a"),
        (moved, tmp_path / "b/c"),
        (root, tmp_path / "link/d"),
    ):
        (tmp_path / "far/away").mkdir(parents=True, exist_ok=True)
        if not (tmp_path / "link").exists():
            (tmp_path / "link").symlink_to(tmp_path / "far/away")
        write_list(length_stress(scan(corpus, ["test-clean"]), seed=0)[0], out, {})
        assert all(item.prompt_wav.is_file() for item in read_meta(out / "meta.lst"))
        found.append(json.loads((out / "list.json").read_text())["texts_sha256"])
    assert len(set(found)) == 1
    write_list(length_stress(utterances, seed=1)[0], tmp_path / "e", {})
    assert json.loads((tmp_path / "e/list.json").read_text())["texts_sha256"] not in found


def test_the_list_reads_back(root, tmp_path, monkeypatch, capsys):
    out = tmp_path / "lists"
    monkeypatch.setattr("sys.argv", ["x", f"root={root}", f"out={out}", "kind=length_stress"])
    main()
    items, described = read_meta(out / "meta.lst"), json.loads((out / "list.json").read_text())
    assert len(items) == described["lines"] and described["sha256"][:12] in capsys.readouterr().out
    assert all(item.prompt_wav.is_file() for item in items)
    assert all(item.recording is None or item.recording.is_file() for item in items)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["kind=odd"], "kind is zero_shot or length_stress"), (["root=nowhere"], "openslr")],
)
def test_bad_command_lines(arguments, message, root, tmp_path, monkeypatch):
    given = {"root": str(root), "out": str(tmp_path)} | dict(a.split("=") for a in arguments)
    monkeypatch.setattr("sys.argv", ["x", *(f"{k}={v}" for k, v in given.items())])
    with pytest.raises(SystemExit, match=message):
        main()


def test_too_few_readers(utterances):
    with pytest.raises(ValueError, match="2 readers"):
        length_stress([u for u in utterances if u.voice in ("100", "101")], 0)


def test_texts_and_spread():
    assert readable("No digits.") and not readable("in 1984") and not readable("a|b")
    assert not readable(None) and not readable("")
    pool = [("a " * n, Path("x"), None) for n in range(1, 101)]
    assert [len(c[0].split()) for c in spread(pool, 4)] == [1, 26, 51, 76]
    assert len(spread(pool[:3], 4)) == 3
