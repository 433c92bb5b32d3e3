"""The store: rows and recipes together, versions, damage, several writers, migration of what was before it."""

import json
import multiprocessing
import re
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from rich.console import Console

from eval.store.cache import Cache
from eval.store.database import FILE, Store, differing
from eval.store.evaluations import find_evaluations, read_evaluation
from eval.store.files import InputError
from eval.store.manifest import REPOSITORY
from eval.store.migrate import migrate
from tests.eval.stored import WER, put_evaluation

QUIET = Console(quiet=True)


def rows(n=3, **changes):
    return [
        {"utterance": f"u{i}", "wer": 0.0, "prompt": "p", "wav_sha256": None} | changes
        for i in range(n)
    ]


def test_rows_come_back_with_their_recipes(tmp_path):
    put_evaluation(tmp_path, "s", rows(), seed=2, card={"ce": 1})
    [one] = read_evaluation(tmp_path)
    assert [row["utterance"] for row in one.rows] == ["u0", "u1", "u2"]
    assert one.recipes == {"wer": WER} and one.seed == 2 and one.speech["model_sha256"] == "s"
    assert one.folder == tmp_path / "s" and one.wavs == tmp_path / "s/wavs"


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    put_evaluation(tmp_path, "s", rows())
    with pytest.raises(ValueError, match="Out of range"):
        put_evaluation(tmp_path, "s", rows(2, wer=float("nan")), recipes={"wer": {"asr": "other"}})
    [one] = read_evaluation(tmp_path)
    assert len(one.rows) == 3 and one.recipes == {"wer": WER}


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path):
    store = Store(tmp_path)
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(sqlite3.OperationalError, match="full"), store.transaction():
        for i in range(1000):
            store._database.execute(
                "INSERT INTO run (started, content) VALUES (?, ?)", (str(i), "x" * 1000)
            )
    assert store._database.execute("SELECT count(*) FROM run").fetchone()[0] == 0
    store._database.execute("PRAGMA max_page_count = 100000")
    with store.transaction():
        store.begin_run({}, "now")


def test_another_version_and_damage_are_refused_by_name(tmp_path):
    put_evaluation(tmp_path, "s", rows())
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("PRAGMA user_version = 7")
    with pytest.raises(
        InputError, match=r"evaluation\.sqlite is of version 7, this program reads 1"
    ):
        read_evaluation(tmp_path)
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match="not a store of evaluations"):
        Store(tmp_path)
    with pytest.raises(InputError, match="holds no evaluation"):
        read_evaluation(tmp_path / "none")


def test_a_system_that_is_not_scored_is_named_with_those_that_are(tmp_path):
    put_evaluation(tmp_path, "s", rows())
    with pytest.raises(InputError, match=r"'t' is not scored yet \(scored: s\)"):
        read_evaluation(tmp_path, ["t"])


def test_speech_that_is_not_scored_yet_hides_no_other_evaluation(tmp_path):
    """stage=synthesize out=runs/eval/hello, and then a board of runs/eval."""
    Store(tmp_path / "spoken").close()
    with pytest.raises(InputError, match="holds no scores"):
        find_evaluations(tmp_path)
    with pytest.raises(InputError, match="nothing scored yet"):
        read_evaluation(tmp_path / "spoken")
    put_evaluation(tmp_path / "scored", "s", rows())
    assert [one.name for one in find_evaluations(tmp_path)] == ["s"]


def test_recipes_that_differ_are_told_by_their_keys():
    assert (
        differing({"asr": "a", "n": 1}, {"asr": "b", "n": 1, "m": 2})
        == "asr: a and b; m: None and 2"
    )
    assert differing({"asr": "a"}, {"asr": "a"}) == ""
    ours, theirs = ({"recogniser": {"tool": "w", "model": m}, "n": 1} for m in ("tiny", "base"))
    assert differing(ours, theirs) == "recogniser.model: tiny and base"


def _write(folder, name):
    for _ in range(5):
        put_evaluation(folder, name, rows(20))


@pytest.mark.slow
def test_processes_take_turns(tmp_path):
    context = multiprocessing.get_context("spawn")
    put_evaluation(tmp_path, "first", rows())
    writers = [context.Process(target=_write, args=(tmp_path, f"s{i}")) for i in range(3)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert [one.exitcode for one in writers] == [0, 0, 0]
    assert {len(one.rows) for one in read_evaluation(tmp_path, ["s0", "s1", "s2"])} == {20}


def test_the_cache_keeps_values_over_processes_and_repairs_itself(tmp_path):
    first = Cache(tmp_path)
    assert first.get("mos", "a", lambda: 3.5) == 3.5 and first.calls == 1
    assert first.get("nothing", "a", lambda: None) is None and first.has("nothing", "a")
    second = Cache(tmp_path)
    assert second.get("mos", "a", lambda: 1 / 0) == 3.5 and second.calls == 0
    with sqlite3.connect(tmp_path / "metrics.sqlite") as database:
        database.execute("UPDATE value SET value = '{ half'")
    assert not second.has("mos", "a") and second.get("mos", "a", lambda: 4.0) == 4.0
    (tmp_path / "x").mkdir()
    (tmp_path / "x/metrics.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match="delete it"):
        Cache(tmp_path / "x")


def old_evaluation(folder, name, n=3):
    """What evaluate.py left of a system before there was a store."""
    own = folder / name
    own.mkdir(parents=True)
    old = [row | {"detail": "no similarity: ValueError: too short"} for row in rows(n)]
    card = {"kind": "model", "source": "m", "model_sha256": "abc", "layer_plan": ["attention"]}
    (own / "system.json").write_text(json.dumps(card))
    protocol = {"profile": "f5", "language": "en", "asr": "a", "speaker": "g", "mos": None}
    scored = {"protocol": protocol | {"sha256": "x"}, "test_set": "t", "seed_index": 1}
    (own / "scored.json").write_text(json.dumps(scored))
    ce = {"recipe": "r", "nats_per_token": 2.5, "shuffled_nats_per_token": 8.0}
    (own / "ce.json").write_text(json.dumps(ce))
    (own / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old))


def test_old_results_are_refused_until_they_are_migrated_and_marked(tmp_path):
    old_evaluation(tmp_path / "e", "teacher")
    for read in (find_evaluations, lambda folder: read_evaluation(folder / "e")):
        with pytest.raises(InputError, match=r"python -m eval\.store\.migrate results="):
            read(tmp_path)
    assert migrate(tmp_path, QUIET) == 1
    [one] = find_evaluations(tmp_path)
    assert one.recipes["wer"] == {
        "recogniser": {"tool": "a"},
        "profile": {"name": "f5", "code": None},
        "language": "en",
        "code": "unknown (migrated)",
    }
    assert one.recipes["sim"] == {"tool": "g", "code": "unknown (migrated)"}
    assert (
        set(one.recipes) == {"wer", "wer_guarded", "sim"} and one.seed == 1 and len(one.rows) == 3
    )
    assert one.card["ce"] == 2.5 and one.speech["code"] == "unknown (migrated)"
    assert one.rows[0]["voice"] == "p"
    assert one.rows[0]["failures"] == {"sim": "ValueError: too short"}
    (tmp_path / "e/teacher/scored.json").write_text("{ ha")
    assert migrate(tmp_path, QUIET) == 1, "what is migrated is not read again"
    with pytest.raises(InputError, match="no results of an older version"):
        migrate(tmp_path / "nowhere", QUIET)


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("scored.json", "{ ha", "scored.json is missing or damaged"),
        ("scored.json", '{"test_set": "t"}', "scored.json is newer than scores.jsonl"),
        (
            "scores.jsonl",
            '{"utterance": "u0", "prompt": "p", "wer"',
            "no whole rows, or a part of one",
        ),
        ("system.json", '{"source": "m"}', "'kind' is missing"),
    ],
)
def test_damaged_old_results_are_named_and_leave_no_store(tmp_path, file, content, fault):
    old_evaluation(tmp_path / "e", "teacher")
    (tmp_path / "e/teacher" / file).write_text(content)
    with pytest.raises(InputError, match=re.escape(fault)):
        migrate(tmp_path, QUIET)
    assert not (tmp_path / "e" / FILE).exists()


def test_rows_that_are_no_longer_asked_for_go(tmp_path):
    """Another slice of one list, of equal length; other seeds of a folder of wavs."""
    put_evaluation(tmp_path, "s", rows())
    put_evaluation(tmp_path, "s", [row | {"utterance": f"v{i}"} for i, row in enumerate(rows())])
    assert [row["utterance"] for row in read_evaluation(tmp_path)[0].rows] == ["v0", "v1", "v2"]


@pytest.mark.slow
def test_a_killed_migration_loses_nothing(tmp_path):
    for i in range(30):
        old_evaluation(tmp_path / f"e{i:02d}", "teacher", n=2_000)
    command = [sys.executable, "-m", "eval.store.migrate", f"results={tmp_path}"]
    running = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    while len(list(tmp_path.glob(f"*/{FILE}"))) < 3:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert len(list(tmp_path.glob(f"*/{FILE}"))) < 30
    subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    assert {len(one.rows) for path in tmp_path.iterdir() for one in read_evaluation(path)} == {
        2_000
    }
    assert not list(tmp_path.rglob(".migrating"))
