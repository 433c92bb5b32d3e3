"""The blind listening test: what is asked, what the answers say."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from rich.console import Console

from eval.listening.crossed import crossed_mean
from eval.listening.ratings import analyse
from eval.store.files import InputError
from tests.eval.listening.making import QUIET, SYSTEMS, make
from tests.eval.made_up import scored_row, store_system


def of_systems(key: dict) -> list[dict]:
    return [question for question in key["questions"] if question["check"] is None]


def test_every_system_says_every_sentence_and_the_page_gives_nobody_away(results, tmp_path):
    key = make(results, tmp_path / "t")
    asked = [(q["systems"][0], q["utterance"]) for q in of_systems(key)]
    assert len(set(asked)) == len(asked) == 12
    assert len({utterance for _, utterance in asked}) == 4
    page = (tmp_path / "t/page/index.html").read_text()
    assert page.count("<audio") == 12 + 4 == len(set(re.findall(r"clips/\w{16}\.flac", page)))
    sent = [path.name for path in (tmp_path / "t/page").rglob("*")]
    assert not any(name in page + " ".join(sent) for name in (*SYSTEMS, "u1.wav", '"u1"'))
    assert "key.json" not in sent and len(sent) == 2 + 16
    assert "-23.0 LUFS" in page
    order = [q["systems"][0] for q in key["questions"]]
    assert order != sorted(order), "the order of the names follows the systems"
    assert make(results, tmp_path / "again") == key != make(results, tmp_path / "x", seed=1)


def test_other_speech_is_another_test_and_never_under_an_old_key(results, tmp_path):
    first = make(results, tmp_path / "a")
    assert make(results, tmp_path / "a") == first
    with pytest.raises(InputError, match="key of another test"):
        make(results, tmp_path / "a", seed=1)
    for n in range(8):
        other = 0.1 * np.cos(0.01 * np.arange(8000))
        soundfile.write(results / f"student/wavs/u{n}.wav", other, 16_000)
    clips = {path: path.read_bytes() for path in (tmp_path / "a/page/clips").iterdir()}
    with pytest.raises(InputError, match=r"is not that of .*key\.json"):
        make(results, tmp_path / "a")
    assert {p: p.read_bytes() for p in (tmp_path / "a/page/clips").iterdir()} == clips
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["key.json", "page"]
    assert make(results, tmp_path / "b")["test"] != first["test"]


def test_pairs_have_both_sides_in_both_places(results, tmp_path):
    key = make(results, tmp_path / "t", kind="pairs", baseline="teacher", n_items=8)
    sides = [q["systems"].index("teacher") for q in of_systems(key)]
    assert len(sides) == 16 and 2 < sum(sides) < 14
    clips = [clip for q in key["questions"] for clip in q["clips"]]
    assert len(set(clips)) == len(clips), "a clip heard twice would be known by its name"


@pytest.mark.parametrize(("kind", "n_items", "checks"), [("mos", 4, 4), ("pairs", 8, 4)])
def test_checks_have_known_answers_and_look_like_the_others(
    results, tmp_path, kind, n_items, checks
):
    key = make(results, tmp_path / "t", kind=kind, baseline="teacher", n_items=n_items)
    found = [q for q in key["questions"] if q["check"]]
    assert len(found) == checks
    page = (tmp_path / "t/page/index.html").read_text()
    blocks = re.findall(r'<div class="question".*?</div>\n  </div>', page, re.DOTALL)
    plain = {re.sub(r"\b(q?[0-9a-f]{16})\b", "", block) for block in blocks}
    assert len(blocks) == len(key["questions"]) and len(plain) == 1
    if kind == "mos":
        assert all(q["noisy"] == [True] and q["expected"] == [1, 2] for q in found)
        return
    assert sorted(q["check"] for q in found) == ["noise", "noise", "same", "same"]
    for question in found:
        waves = [
            soundfile.read(tmp_path / f"t/page/clips/{clip}.flac")[0] for clip in question["clips"]
        ]
        if question["check"] == "same":
            assert question["expected"] == [0] and np.array_equal(*waves)
        else:
            [right] = question["expected"]  # -1: the first is the better one
            assert question["noisy"] == [right == 1, right == -1]
            # A tone changes its sign as often as it swings, noise at every other sample.
            crossings = [np.mean(np.diff(np.signbit(wave))) for wave in waves]
            assert (crossings[0] < crossings[1]) == (right == -1)


def attentive(rate):
    """Answers checks as expected and the others by `rate`."""
    return lambda q: q["expected"][0] if q["check"] else rate(q)


def answers(key: dict, folder: Path, listener: str, rate) -> None:
    folder.mkdir(exist_ok=True)
    order = [q["key"] for q in key["questions"]]
    given = {q["key"]: rate(q) for q in key["questions"]}
    content = {"test": key["test"], "listener": listener, "order": order, "answers": given}
    (folder / f"answers-{listener}.json").write_text(json.dumps(content))


def test_opinion_scores(results, tmp_path):
    key = make(results, tmp_path / "t", baseline="teacher")
    usual = {"teacher": 4, "student": 3, "zonos": 1}
    for listener, shift in (("ann", 0), ("ben", 1), ("cy", 0)):
        rate = attentive(lambda q, s=shift: usual[q["systems"][0]] + s)
        answers(key, tmp_path / "a", listener, rate)
    found = analyse(tmp_path / "a", tmp_path / "t/key.json", QUIET)
    assert [rating.system for rating in found] == ["teacher", "student", "zonos"]
    assert found[0].mean.point == pytest.approx(4 + 1 / 3) and found[0].answers == 12
    # Listeners differ by (0, 1, 0), sentences by nothing: s = 1/sqrt(3), t of 2 degrees of freedom.
    assert found[0].mean.low == pytest.approx(4 + 1 / 3 - 4.303 / 3, abs=1e-3)
    assert found[0].mean.high == 5, "opinions end there"
    # Everybody puts three points between the two: what the listeners differ in cancels.
    gap = found[2].difference
    assert gap.point == -3 and np.isnan(gap.low), "all alike: no spread is known"
    table = pd.read_csv(tmp_path / "a/ratings.csv")
    assert list(table["system"]) == ["teacher", "student", "zonos"]
    assert set(table["listeners"]) == {3} and set(table["listeners_excluded"]) == {0}
    every = pd.read_csv(tmp_path / "a/answers.csv")
    assert len(every) == 36 and sorted(every["position"].unique())[-1] <= 16


def test_who_does_not_listen_is_reported_and_left_out(results, tmp_path, capsys):
    key = make(results, tmp_path / "t")
    answers(key, tmp_path / "a", "ann", attentive(lambda q: 4))
    answers(key, tmp_path / "a", "ben", attentive(lambda q: 3))
    answers(key, tmp_path / "a", "[cy]", lambda q: 5)  # brackets mean something to the console
    checks = [q["key"] for q in key["questions"] if q["check"]]
    path = tmp_path / "a/answers-ben.json"
    one_wrong = json.loads(path.read_text())
    one_wrong["answers"][checks[0]] = 3  # one of four is allowed
    path.write_text(json.dumps(one_wrong))
    found = analyse(tmp_path / "a", tmp_path / "t/key.json", Console(width=200))
    assert {rating.mean.point for rating in found} == {3.5} and found[0].answers == 8
    said = capsys.readouterr().out
    assert "left out: [cy] failed 4 of 4 checks" in said and "2 listeners, 1 left out" in said
    people = pd.read_csv(tmp_path / "a/listeners.csv").set_index("listener")
    assert list(people.loc[["ann", "ben", "[cy]"], "failed"]) == [0, 1, 4]
    assert list(people.loc[["ann", "ben", "[cy]"], "excluded"]) == [False, False, True]
    every = pd.read_csv(tmp_path / "a/answers.csv")
    assert set(every.loc[every["excluded"], "listener"]) == {"[cy]"}
    for name in ("ann", "ben"):
        (tmp_path / f"a/answers-{name}.json").unlink()
    with pytest.raises(InputError, match=r"all 1 listeners in .* failed more than 25%"):
        analyse(tmp_path / "a", tmp_path / "t/key.json", QUIET)


def test_preferences_do_not_depend_on_the_side(results, tmp_path):
    key = make(results, tmp_path / "t", kind="pairs", baseline="teacher", n_items=8)
    rate = attentive(lambda q: -1 if q["systems"][0] == "student" else 1)
    answers(key, tmp_path / "a", "ann", rate)
    found = {
        r.system: r.mean.point for r in analyse(tmp_path / "a", tmp_path / "t/key.json", QUIET)
    }
    # Against the student every answer was for it; against the other system always for the second clip.
    mine = [q for q in of_systems(key) if "zonos" in q["systems"]]
    assert found["student"] == 1.0
    assert found["zonos"] == np.mean([q["systems"][1] == "zonos" for q in mine])
    answers(key, tmp_path / "a", "ann", attentive(lambda q: 0))
    assert {r.mean.point for r in analyse(tmp_path / "a", tmp_path / "t/key.json", QUIET)} == {0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(test="other"), "not an answer to this test"),
        (lambda c: c.pop("order"), "no listener's file"),
        (lambda c: c.update(listener=7), "no listener's file"),
        (lambda c: c["order"].pop(), "its order is not one of these questions"),
        (lambda c: c["answers"].popitem(), "1 of 16 questions have no answer"),
        (
            lambda c: c["answers"].update({next(iter(c["answers"])): 9}),
            "9 is no answer to question",
        ),
    ],
)
def test_bad_answers_are_named(results, tmp_path, change, message):
    key = make(results, tmp_path / "t")
    answers(key, tmp_path / "a", "ann", attentive(lambda q: 3))
    path = tmp_path / "a/answers-ann.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        analyse(tmp_path / "a", tmp_path / "t/key.json", QUIET)


def test_a_listener_counts_once(results, tmp_path):
    key = make(results, tmp_path / "t")
    answers(key, tmp_path / "a", "ann", attentive(lambda q: 3))
    answers(key, tmp_path / "a", "Ann", attentive(lambda q: 3))
    with pytest.raises(InputError, match="are both of ann"):
        analyse(tmp_path / "a", tmp_path / "t/key.json", QUIET)


def test_tests_that_cannot_be_made(results, tmp_path):
    for changes, message in (
        ({"kind": "abx"}, "kind is mos or pairs"),
        ({"kind": "pairs"}, "pairs need baseline"),
        ({"baseline": "nobody"}, "baseline=nobody is not among"),
        ({"n_items": 9}, "8 sentences have usable speech"),
        ({"n_items": 0}, "n_items=0"),
    ):
        with pytest.raises(InputError, match=message):
            make(results, tmp_path / "t", **changes)
    with pytest.raises(InputError, match="is not the key"):
        analyse(tmp_path, tmp_path / "none.json", QUIET)
    make(results, tmp_path / "t")
    with pytest.raises(InputError, match="holds no listener"):
        analyse(tmp_path / "t", tmp_path / "t/key.json", QUIET)
    store_system(tmp_path / "r2", "far", [scored_row("u0")], test_set="x", wav_hz=200)
    (tmp_path / "r2").rename(results / "r2")
    with pytest.raises(InputError, match="speak different test sets"):
        make(results, tmp_path / "u")


@pytest.mark.parametrize("listeners", [5, 15])
def test_the_interval_covers_listeners_and_sentences(listeners):
    """Both vary: the share of intervals that hold the true mean is near 95 %."""
    held = 0
    for trial in range(200):
        rng = np.random.default_rng(trial)
        ears, texts = rng.normal(0, 0.4, listeners), rng.normal(0, 0.4, 30)
        rows = [
            {"listener": i, "utterance": j, "value": 3 + ears[i] + texts[j] + rng.normal(0, 0.5)}
            for i in range(listeners)
            for j in range(30)
        ]
        found = crossed_mean(pd.DataFrame(rows))
        held += found.low <= 3 <= found.high
    # Three standard errors of a share of 0.95 in 200 trials are 0.046.
    assert 0.904 <= held / 200 <= 0.996


def test_one_listener_has_a_mean_without_an_interval():
    frame = pd.DataFrame({"listener": ["a"] * 3, "utterance": [1, 2, 3], "value": [1.0, 2, 3]})
    found = crossed_mean(frame)
    assert found.point == 2 and np.isnan(found.low) and np.isnan(found.high)
