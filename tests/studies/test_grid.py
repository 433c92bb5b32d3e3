"""The grid runner with stand-in stages: sharing, failing, resuming, and two runners at once."""

import json
import multiprocessing
import time

import pandas as pd
import pytest
from filelock import FileLock

from eval.store.files import InputError
from studies import grid as grid_module
from studies.grid import (
    Cell,
    Stage,
    check_version,
    refuse_cell,
    run_cell,
    stages,
)
from studies.grid_table import progress, scores_of, table
from tests.eval.stored import WER, put_evaluation

A, M = "attention", "mamba"

# Stands for training and evaluation: leaves what they leave, and a line in `calls`.
SCRIPT = """
import pathlib, sys, time
from tests.eval.stored import put_evaluation
work, errors = pathlib.Path(sys.argv[1]), [int(n) for n in sys.argv[2].split(",")]
with (work.parents[1] / "calls").open("a") as calls:
    calls.write(work.name + chr(10))
time.sleep(float(sys.argv[3]))
(work / "run").mkdir(exist_ok=True)
(work / "run/metrics.csv").write_text("step,loss,val_ce" + chr(10) + "5,2,\\n5,,1.5" + chr(10))
(work / "eval/student").mkdir(parents=True, exist_ok=True)
rows = [{"utterance": str(i), "wer": e / 10, "substitutions": e, "deletions": 0, "insertions": 0,
         "reference_words": 10, "status": "ok", "voice": f"v{i % 3}"} for i, e in enumerate(errors)]
put_evaluation(work / "eval", "student", rows)
wer = sum(errors) / 10 / len(errors)
(work / "eval/leaderboard.csv").write_text(
    "system,layer_plan,wer_corpus,wer_difference" + chr(10) + f"student,x,{wer}," + chr(10))
"""


def cell(placement="front", ratio="1:1", plan=(A, M), seed=0, settings=None, overrides=()) -> Cell:
    return Cell(ratio, placement, seed, tuple(overrides), plan, settings or {"steps": 5})


def speak(grid, one, errors=(1, 2, 3), wait_s=0.0) -> tuple[Stage, ...]:
    arguments = (str(grid / "works" / one.work), ",".join(map(str, errors)), str(wait_s))
    return (Stage("train", ("-c", SCRIPT, *arguments)),)


def run(grid, one, total=None, **options) -> str:
    return run_cell(grid, one, speak(grid, one, **options), total)


@pytest.fixture(autouse=True)
def fresh_runner(monkeypatch):
    monkeypatch.setattr(grid_module, "STARTED_S", time.time())


@pytest.fixture
def grid(tmp_path):
    return tmp_path / "grid"


def calls_of(grid) -> list[str]:
    return (grid / "calls").read_text().split()


def test_cells_of_one_plan_share_one_work(grid):
    first, second = cell("front"), cell("wer")
    other = cell("back", plan=(M, A))
    assert first.work == second.work != other.work and first.name != second.name
    assert [run(grid, one) for one in (first, second, other)] == ["done"] * 3
    assert calls_of(grid) == [first.work, other.work]
    rows = pd.read_csv(grid / "grid.csv").set_index("placement")
    assert rows.loc["front", "wer_corpus"] == rows.loc["wer", "wer_corpus"] == pytest.approx(0.2)
    assert list(rows["status"]) == ["done"] * 3 and set(rows["plan"]) == {"AM", "MA"}
    assert list(rows["step"]) == [5] * 3 and list(rows["val_ce"]) == [1.5] * 3


def test_settings_and_seeds_have_works_of_their_own():
    names = {
        cell().work,
        cell(seed=1).work,
        cell(settings={"steps": 6}).work,
        cell(plan=(M, A)).work,
    }
    assert len(names) == 4
    assert cell(overrides=["init=paper"]).name != cell(overrides=["init=xavier"]).name


def test_the_difference_is_paired_with_the_teacher_of_the_seed(grid):
    run(grid, cell("front", ratio="1:0", plan=(A, A)), errors=(1, 1, 1))
    run(grid, cell("front"), errors=(1, 2, 3))
    run(grid, cell("front", seed=1), errors=(1, 2, 3))
    rows = {(row["ratio"], row["seed"]): row for row in table(grid)}
    assert rows["1:1", 0]["wer_difference"] == pytest.approx(0.1)
    low, high = rows["1:1", 0]["wer_difference_low"], rows["1:1", 0]["wer_difference_high"]
    # Three voices that differ by 0, 0.1 and 0.2: t of two degrees of freedom, 4.30 times 0.1 / sqrt(3).
    assert (low, high) == pytest.approx((0.1 - 0.2484, 0.1 + 0.2484), abs=1e-4)
    assert rows["1:1", 0]["wer_difference_p"] == pytest.approx(0.2254, abs=1e-4)
    assert "wer_difference" not in rows["1:0", 0] and "wer_difference" not in rows["1:1", 1]


def test_the_teacher_continued_is_trained_and_is_not_the_teacher(grid, tmp_path):
    settings = {"steps": 5, "task": "continue"}
    continued = cell("continued", ratio="1to0", plan=(A, A), settings=settings)
    given = ("experiment=mini_grid_continued", "seed=0", "placement=blockbeg")
    train, _ = stages(continued, tmp_path, tmp_path / "t", given, {})
    assert "task=continue" in train.argv and "plan=AA" in train.argv
    run(grid, cell("front", ratio="1to0", plan=(A, A)), errors=(1, 1, 1))
    run(grid, continued, errors=(0, 1, 1))
    run(grid, cell("front"), errors=(1, 2, 3))
    rows = {(row["ratio"], row["placement"]): row for row in table(grid)}
    assert rows["1:1", "front"]["wer_difference"] == pytest.approx(0.1)
    assert rows["1to0", "continued"]["wer_difference"] == pytest.approx(-1 / 30)
    assert rows["1to0", "front"]["work"] != rows["1to0", "continued"]["work"]
    assert "wer_difference" not in rows["1to0", "front"]


def test_a_twin_of_windows_has_a_row_and_a_work_of_its_own(grid):
    twin = cell("front", plan=(A, "window"), overrides=["mixer=window"])
    run(grid, cell("front"))
    run(grid, twin, errors=(0, 0, 0))
    rows = {row["plan"]: row for row in table(grid)}
    assert rows["AW"]["overrides"] == "mixer=window" and rows["AW"]["wer_corpus"] == 0
    assert rows["AM"]["wer_corpus"] == pytest.approx(0.2)
    assert all("wer_difference" not in row for row in rows.values()), "a twin is no teacher"


FAILS = (Stage("train", ("-c", "print('steps: 9'); raise SystemExit('no such tokens')")),)


def test_a_failed_cell_is_a_row_and_is_tried_again_by_a_later_runner(grid, monkeypatch):
    broken, good = cell("front"), cell("back", plan=(M, A))
    assert run_cell(grid, broken, FAILS, 2) == "failed"
    assert run(grid, good) == "done"
    assert run(grid, broken) == "failed", "one runner must not repeat a failure"
    rows = {row["placement"]: row for row in table(grid)}
    assert rows["front"]["status"] == "failed"
    assert rows["front"]["error"].startswith("train: ")
    assert rows["front"]["error"].endswith("steps: 9 | no such tokens")
    assert rows["back"]["status"] == "done"
    monkeypatch.setattr(grid_module, "STARTED_S", time.time() + 1)
    assert run(grid, broken) == "done"
    assert {row["status"] for row in table(grid)} == {"done"}


def test_a_killed_stage_is_named_and_ends_the_work(grid):
    kill = Stage("train", ("-c", "import os; os.kill(os.getpid(), 9)"))
    one = cell()
    assert run_cell(grid, one, (kill, *speak(grid, one)), None) == "failed"
    assert table(grid)[0]["error"] == "train: killed by signal 9"
    assert not (grid / "calls").exists(), "the next stage ran"


def test_an_interrupt_leaves_the_work_to_be_resumed(grid):
    stop = Stage("train", ("-c", "raise SystemExit(130)"))
    with pytest.raises(KeyboardInterrupt):
        run_cell(grid, cell(), (stop,), None)
    assert table(grid)[0]["status"] == "left"
    assert run(grid, cell()) == "done"


def test_the_leftovers_of_a_dead_runner_do_not_block(grid):
    folder = grid / "works" / cell().work
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    (folder / "result.json").write_text('{"status": "do')
    assert run(grid, cell()) == "done"


def test_a_finished_work_that_lost_its_files_is_a_failed_row(grid):
    run(grid, cell("front"))
    run(grid, cell("back", plan=(M, A)))
    (grid / "works" / cell("front").work / "eval/leaderboard.csv").write_text("")
    rows = {row["placement"]: row for row in table(grid)}
    assert rows["front"]["status"] == "failed" and "EmptyDataError" in rows["front"]["error"]
    assert rows["back"]["status"] == "done"


def test_a_work_that_is_being_done_is_left_alone(grid):
    one = cell()
    (grid / "works" / one.work).mkdir(parents=True)
    with FileLock(grid / "works" / one.work / "lock"):
        assert run(grid, one) == "busy"
    assert table(grid)[0]["status"] == "left" and not (grid / "calls").exists()


def _runner(grid, cells) -> None:
    for one in cells:
        run(grid, one, wait_s=0.3)


def test_two_runners_share_the_works(grid):
    plans = [(A, M), (M, A), (M, M), (A, A)]
    cells = [cell(str(number), plan=plan) for number, plan in enumerate(plans)]
    context = multiprocessing.get_context("fork")
    runners = [context.Process(target=_runner, args=(grid, cells)) for _ in range(2)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
        assert runner.exitcode == 0
    assert sorted(calls_of(grid)) == sorted(one.work for one in cells)
    assert [row["status"] for row in table(grid)] == ["done"] * 4
    assert pd.read_csv(grid / "grid.csv")["status"].tolist() == ["done"] * 4


def test_a_full_disk_leaves_the_old_table_and_no_half_result(grid, monkeypatch):
    run(grid, cell())
    before = (grid / "grid.csv").read_bytes()

    def full(path, text):
        raise OSError(28, "No space left on device")

    other = cell("back", plan=(M, A))
    monkeypatch.setattr("eval.store.files.write_text", full)
    with pytest.raises(OSError, match="No space"):
        run(grid, other)
    monkeypatch.undo()
    assert (grid / "grid.csv").read_bytes() == before
    assert run(grid, other) == "done"


def test_code_versions_do_not_mix_unless_told(grid, monkeypatch):
    def be(sha, dirty=False):
        monkeypatch.setattr(grid_module, "git_state", lambda: {"sha": sha, "dirty": dirty})

    be("aaa")
    check_version(grid, mix=False)
    check_version(grid, mix=False)
    be("bbb", dirty=True)
    with pytest.raises(InputError, match=r"version aaa; this is bbb-dirty.*cell\.mix=true"):
        check_version(grid, mix=False)
    check_version(grid, mix=True)
    assert json.loads((grid / "grid.json").read_text()) == {"versions": ["aaa", "bbb-dirty"]}
    check_version(grid, mix=False)


def test_a_cell_without_a_plan_is_a_failed_row(grid):
    bare = Cell("1:1", "wer", 0, (), (), {})
    refuse_cell(grid, bare, "wer.json was made for another teacher", 32)
    row = table(grid)[0]
    assert (row["status"], row["error"]) == ("failed", "wer.json was made for another teacher")
    assert run(grid, cell("wer")) == "done", "the mended cell replaces its row"
    assert len(table(grid)) == 1


def test_progress_counts_cells_and_times_works():
    done = {"status": "done", "work": "a", "train_s": 60.0, "evaluate_s": 60.0}
    rows = [done, {**done}, {"status": "failed", "work": "b"}, {"status": "left", "work": "c"}]
    # Two cells took 120 s of work, so two more take as long.
    assert progress(rows, 5).startswith("2 done, 1 failed, 2 left of 5, about 2 minutes for one")
    assert progress(rows[:2], None) == "2 done, 0 failed, 0 left of 2"


def test_a_work_that_was_scored_in_another_way_has_no_difference_but_an_error(grid):
    teacher, student = cell(ratio="1:0", plan=(A, A)), cell()
    run(grid, teacher)
    run(grid, student)
    rows = scores_of(grid / "works" / student.work)
    other = {"wer": WER | {"asr": "another"}}
    put_evaluation(grid / "works" / student.work / "eval", "student", rows, recipes=other)
    found = {row["ratio"]: row for row in table(grid)}
    assert found["1:0"]["status"] == "done"
    assert found["1:1"]["status"] == "failed" and "asr: asr-p and another" in found["1:1"]["error"]
