"""The blind listening test: the page in a browser, and the arithmetic on made-up listeners."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from rich.console import Console

from eval.listening.listening import analyse, crossed_mean, write_test
from eval.store.files import InputError

_spec = importlib.util.spec_from_file_location(
    "board", Path(__file__).parents[1] / "report/test_board.py"
)
board = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(board)
QUIET = Console(quiet=True)


@pytest.fixture
def results(tmp_path) -> Path:
    for name in ("teacher", "student", "other"):
        board.evaluation(tmp_path / "r", name, wavs=True, utterances=8)
    return tmp_path / "r"


def make(results: Path, out: Path, **changes) -> dict:
    options = {"kind": "mos", "baseline": None, "n_items": 4, "seed": 0, "title": "Test"}
    write_test(results, out, QUIET, **options | changes)
    return json.loads((out / "key.json").read_text())


def test_every_system_says_every_sentence_and_the_page_gives_nobody_away(results, tmp_path):
    key = make(results, tmp_path / "t")
    asked = [(q["systems"][0], q["utterance"]) for q in key["questions"]]
    assert len(set(asked)) == len(asked) == 12
    assert len({utterance for _, utterance in asked}) == 4
    page = (tmp_path / "t/index.html").read_text()
    assert page.count("<audio") == 12 == page.count("data:audio/flac")
    assert not any(name in page for name in ("teacher", "student", "u1.wav", '"u1"'))
    assert make(results, tmp_path / "again") == key != make(results, tmp_path / "x", seed=1)


def test_other_systems_or_other_speech_are_another_test(results, tmp_path):
    first = make(results, tmp_path / "a")["test"]
    path = next((results).rglob("wavs/u0.wav"))
    original = path.read_bytes()
    for n in range(8):
        other = path.with_name(f"u{n}.wav")
        soundfile.write(other, 0.1 * np.cos(0.01 * np.arange(8000)), 16_000)
    assert make(results, tmp_path / "b")["test"] != first
    for n in range(8):
        path.with_name(f"u{n}.wav").write_bytes(original)
    assert make(results, tmp_path / "c")["test"] == first


def test_a_listener_counts_once(results, tmp_path):
    key = make(results, tmp_path / "t")
    answers(key, tmp_path / "a", "ann", lambda q: 3)
    (tmp_path / "a/answers-ann (1).json").write_text((tmp_path / "a/answers-ann.json").read_text())
    with pytest.raises(InputError, match="several files of ann"):
        analyse(tmp_path / "a", tmp_path / "t/key.json", QUIET)


def test_pairs_have_both_sides_in_both_places(results, tmp_path):
    key = make(results, tmp_path / "t", kind="pairs", baseline="teacher", n_items=8)
    sides = [q["systems"].index("teacher") for q in key["questions"]]
    assert len(sides) == 16 and 2 < sum(sides) < 14
    assert all("teacher" in q["systems"] for q in key["questions"])


def answers(key: dict, folder: Path, listener: str, rate) -> None:
    folder.mkdir(exist_ok=True)
    given = {q["key"]: rate(q) for q in key["questions"]}
    content = {"test": key["test"], "listener": listener, "answers": given}
    (folder / f"answers-{listener}.json").write_text(json.dumps(content))


def test_opinion_scores(results, tmp_path):
    key = make(results, tmp_path / "t")
    usual = {"teacher": 4, "student": 3, "other": 1}
    for listener, shift in (("ann", 0), ("ben", 1), ("cy", 0)):
        answers(key, tmp_path / "t/a", listener, lambda q, s=shift: usual[q["systems"][0]] + s)
    found = analyse(tmp_path / "t/a", tmp_path / "t/key.json", QUIET)
    assert [rating.system for rating in found] == ["teacher", "student", "other"]
    assert found[0].mean.point == pytest.approx(4 + 1 / 3) and found[0].answers == 12
    assert found[0].mean.low == 4.0 and found[0].mean.high == 5.0
    assert list(pd.read_csv(tmp_path / "t/a/ratings.csv")["system"]) == [
        "teacher",
        "student",
        "other",
    ]


def test_preferences_do_not_depend_on_the_side(results, tmp_path):
    key = make(results, tmp_path / "t", kind="pairs", baseline="teacher", n_items=8)
    answers(key, tmp_path / "a", "ann", lambda q: -1 if q["systems"][0] == "student" else 1)
    found = {
        r.system: r.mean.point for r in analyse(tmp_path / "a", tmp_path / "t/key.json", QUIET)
    }
    # Against the student every answer was for it; against the other system always for the second clip.
    mine = [q for q in key["questions"] if "other" in q["systems"]]
    assert found["student"] == 1.0
    assert found["other"] == np.mean([q["systems"][1] == "other" for q in mine])
    answers(key, tmp_path / "a", "ann", lambda q: 0)
    assert {r.mean.point for r in analyse(tmp_path / "a", tmp_path / "t/key.json", QUIET)} == {0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(test="other"), "not an answer to this test"),
        (lambda c: c["answers"].popitem(), "1 of 12 questions have no answer"),
        (
            lambda c: c["answers"].update({next(iter(c["answers"])): 9}),
            "9 is no answer to question",
        ),
    ],
)
def test_bad_answers_are_named(results, tmp_path, change, message):
    key = make(results, tmp_path / "t")
    answers(key, tmp_path / "a", "ann", lambda q: 3)
    path = tmp_path / "a/answers-ann.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        analyse(tmp_path / "a", tmp_path / "t/key.json", QUIET)


def test_tests_that_cannot_be_made(results, tmp_path):
    for changes, message in (
        ({"kind": "abx"}, "kind is mos or pairs"),
        ({"kind": "pairs"}, "pairs need baseline"),
        ({"n_items": 9}, "8 sentences have usable speech"),
    ):
        with pytest.raises(InputError, match=message):
            make(results, tmp_path / "t", **changes)
    with pytest.raises(InputError, match="is not the key"):
        analyse(tmp_path, tmp_path / "none.json", QUIET)
    make(results, tmp_path / "t")
    with pytest.raises(InputError, match="holds no listener"):
        analyse(tmp_path / "t", tmp_path / "t/key.json", QUIET)


def test_the_interval_covers_listeners_and_sentences():
    """Both vary: the share of intervals that hold the true mean is near 95 %."""
    held = 0
    for trial in range(200):
        rng = np.random.default_rng(trial)
        ears, texts = rng.normal(0, 0.4, 15), rng.normal(0, 0.4, 30)
        rows = [
            {"listener": i, "utterance": j, "value": 3 + ears[i] + texts[j] + rng.normal(0, 0.5)}
            for i in range(15)
            for j in range(30)
        ]
        found = crossed_mean(pd.DataFrame(rows))
        held += found.low <= 3 <= found.high
    assert 0.89 <= held / 200 <= 0.99


def test_a_listener_goes_through_the_page(results, tmp_path):
    make(results, tmp_path / "t", n_items=1)
    script = """
    localStorage.clear();
    const by = id => document.getElementById(id), found = {blocked: by("begin").disabled};
    by("listener").value = "Ann B."; by("listener").dispatchEvent(new Event("input"));
    by("begin").click();
    const questions = [...document.querySelectorAll(".question")];
    found.deaf = questions[0].querySelector("button").disabled;
    for (const question of questions) {
      question.querySelector("audio").dispatchEvent(new Event("ended"));
      question.querySelectorAll("button")[1].click();
      found.next = by("next").disabled;
      by("next").click();
    }
    found.end = !by("end").hidden;
    found.stored = JSON.parse(localStorage.getItem("listening-" + test));
    return found;
    """
    found = board.in_browser(tmp_path / "t/index.html", script, tmp_path / "profile")
    assert found["blocked"] and found["deaf"] and not found["next"] and found["end"]
    assert found["stored"]["listener"] == "Ann B."
    assert list(found["stored"]["answers"].values()) == [4, 4, 4]
