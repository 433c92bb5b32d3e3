"""The tasks of one srun or torchrun that share a cell: the first decides, the others join its training.

There are as many of them as a cell has devices. All run the training command, each as the rank that its
launcher made it; the rest of the cell is the first task's alone.

<work>/steps/<job>-<requeues>.json   what the first task decided: whether it trains and where the ranks meet,
                                     whether it has ended
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from eval.store.files import read_json, write_json
from lightning_modules.slurm import Step
from lightning_modules.stopping import SCHEDULER_SIGNALS, Interrupted, StopRequest

POLL_S = 0.5
LIBC = ctypes.CDLL(None)  # loaded here: what runs between fork and exec must not allocate
PR_SET_PDEATHSIG = 1  # of sys/prctl.h
DECISION_S = (
    1800.0  # the first task may wait for the file system, and for the table of a large grid
)
GRACE_S = 120.0  # to a rank whose first process has gone


def _path(folder: Path, step: Step) -> Path:
    return folder / "steps" / f"{step.launch}.json"


def _end_with_parent() -> None:
    """Asks the kernel to kill this process when its parent dies, by SIGKILL too."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def tell(
    folder: Path,
    step: Step | None,
    trains: bool,
    ended: bool = False,
    meet: Mapping[str, str] | None = None,
) -> None:
    """What the first task does; where there is one task, nobody reads it."""
    if step is not None and step.tasks > 1:
        told = {"trains": trains, "ended": ended, "meet": dict(meet or {})}
        write_json(_path(folder, step), told)


def join(folder: Path, step: Step, training: Sequence[str]) -> None:
    """Another task than the first: runs the command `training` (after the interpreter) if the first does,
    and under torchrun, whose tasks go on to the next cell, waits for the end of this one.

    Raises Interrupted when a signal came; TimeoutError when the first task says nothing.
    """
    path, started_s = _path(folder, step), time.monotonic()
    while (told := read_json(path)) is None:
        if time.monotonic() - started_s > DECISION_S:
            raise TimeoutError(f"task {step.rank}: {path} did not appear in {DECISION_S:.0f} s")
        time.sleep(POLL_S)
    if told["trains"]:
        _train_along(folder, step, training, told)
    # Under torchrun the next cell's decision comes after this one's evaluation, however long that takes.
    while told["meet"] and not (read_json(path) or told)["ended"]:
        time.sleep(POLL_S)


def _train_along(
    folder: Path, step: Step, training: Sequence[str], told: Mapping[str, Any]
) -> None:
    path = _path(folder, step)
    with (folder / f"log-{step.rank}.txt").open("a", encoding="utf-8") as log:
        environment = os.environ | told["meet"]
        stop = run(training, log, environment, lambda: (read_json(path) or told)["ended"])[1]
    if stop is not None:
        raise Interrupted(f"task {step.rank} stopped", stop)


def run(
    command: Sequence[str],
    log: TextIO,
    environment: Mapping[str, str] | None = None,
    until: Callable[[], bool] = lambda: False,
) -> tuple[int, int | None]:
    """(status of `command`, which follows the interpreter; the signal that asked to stop, None without).

    It ends with this process, however that ends: a command that outlived a runner would hold its run folder
    against the next. A scheduler's signal is passed on, because it may have reached this process alone;
    Ctrl-C reaches both. Once `until` is true the command has GRACE_S left.
    """
    request, passed_on, over_s = StopRequest(), False, None
    request.start()
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )
    try:
        while True:
            try:
                return process.wait(POLL_S), request.number
            except subprocess.TimeoutExpired:
                pass
            number = request.number
            if number is not None and number in SCHEDULER_SIGNALS and not passed_on:
                process.send_signal(number)
                passed_on = True
            if over_s is None and until():
                over_s = time.monotonic()
            if over_s is not None and time.monotonic() - over_s > GRACE_S:
                process.kill()
    except KeyboardInterrupt:  # the second one
        process.kill()
        raise
    finally:
        request.end()
