"""Two tasks of a SLURM step at one cell: the first decides, the second joins its training."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lightning_modules.slurm import Step
from lightning_modules.stopping import Interrupted
from studies import tasks_of_step
from studies.grid import Cell, Stage, run_cell
from studies.tasks_of_step import join, run, tell

ROOT = Path(__file__).parents[2]
FIRST, SECOND = Step("7", 1, 0, 2), Step("7", 1, 1, 2)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(tasks_of_step, "POLL_S", 0.05)


def test_the_second_task_runs_the_training_when_the_first_does(tmp_path):
    made = tmp_path / "made"
    command = ("-c", f"open({str(made)!r}, 'w').write('x')")
    tell(tmp_path, FIRST, trains=False)
    join(tmp_path, SECOND, command)
    assert not made.exists()
    tell(tmp_path, FIRST, trains=True)
    join(tmp_path, SECOND, command)
    assert made.exists()


def test_it_waits_for_the_decision_of_this_start_of_the_job(tmp_path, monkeypatch):
    tell(tmp_path, Step("7", 0, 0, 2), trains=True)  # before it was requeued
    monkeypatch.setattr(tasks_of_step, "DECISION_S", 0.2)
    with pytest.raises(TimeoutError, match=r"task 1: .*steps/7-1\.json did not appear"):
        join(tmp_path, SECOND, ("-c", ""))


def test_a_rank_whose_first_process_has_gone_does_not_wait_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks_of_step, "GRACE_S", 0.2)
    tell(tmp_path, FIRST, trains=True)
    threading.Timer(0.3, tell, (tmp_path, FIRST, True, True)).start()
    started_s = time.monotonic()
    join(tmp_path, SECOND, ("-c", "import time; time.sleep(60)"))
    assert time.monotonic() - started_s < 30


def test_a_signal_is_passed_on_and_the_end_of_the_command_awaited(tmp_path):
    saves = tmp_path / "saved"
    program = (
        "import signal, sys, time\n"
        f"signal.signal(signal.SIGUSR1, lambda *a: (open({str(saves)!r}, 'w').close(), sys.exit(130)))\n"
        f"open({str(tmp_path / 'ready')!r}, 'w').close()\n"
        "time.sleep(60)\n"
    )

    def ask() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGUSR1)

    threading.Thread(target=ask).start()
    with (tmp_path / "log").open("w") as log:
        assert run(("-c", program), log) == (130, signal.SIGUSR1)
    assert saves.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="what ends a child with its parent is Linux's")
def test_a_command_ends_with_a_runner_that_is_killed(tmp_path):
    """Left alone it would hold its run folder, and the cell would fail for the next runner."""
    child = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    runner = (
        f"import sys; from studies.tasks_of_step import run\nrun(('-c', {child!r}), sys.stdout)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", runner], cwd=ROOT)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    status = Path("/proc", (tmp_path / "pid").read_text(), "status")
    until = time.monotonic() + 20
    while status.exists() and "State:\tZ" not in status.read_text():
        assert time.monotonic() < until, "the child is still there"
        time.sleep(0.05)


def test_a_cell_that_is_stopped_has_no_result_and_its_other_tasks_are_told(tmp_path):
    cell = Cell("1:1", "front", 0, (), ("attention", "mamba"), {})
    stop = f"import os, signal, time; os.kill({os.getpid()}, signal.SIGUSR2); time.sleep(60)"
    with pytest.raises(Interrupted, match="stopped in train") as caught:
        run_cell(tmp_path, cell, (Stage("train", ("-c", stop)),), None, FIRST)
    assert caught.value.number == signal.SIGUSR2
    work = tmp_path / "works" / cell.work
    assert not (work / "result.json").exists()
    join(work, SECOND, ("-c", "raise SystemExit('not reached')"))
    assert not (work / "log-1.txt").exists()
