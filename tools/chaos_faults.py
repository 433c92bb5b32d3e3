"""The faults of `make chaos`: a process that is killed, a disk that is full, a damaged file, another clock."""

import contextlib
import importlib
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
LONGEST_S = 1800.0
LOG = "log.txt"
POLL_S = 0.05
# A sitecustomize of every Python below it: time goes back by an hour and on by a day, every second.
CLOCK = """
import time
real = time.time
time.time = lambda: real() + (-3600, 86400)[int(real()) % 2]
time.time_ns = lambda: int(time.time() * 1e9)
"""


class Child:
    """A command in a process of its own, which leads a group. Its output goes to a log beside its folder.

    `words` follow the interpreter. It is forked from this process, which has imported what the commands do
    (`preload`): imports take longer than the tiny work, and a kill among them disturbs nothing.
    """

    def __init__(self, words: list[str], folder: Path, clock: Path | None = None):
        self.folder, self.started_s = folder, time.monotonic()
        self.path = folder.with_name(f"{folder.name}.{LOG}")
        self.begins = self.path.stat().st_size if self.path.exists() else 0
        self.status: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            _become(words, self.path, clock)

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.started_s

    def poll(self) -> int | None:
        """Its exit status, minus the signal that ended it; None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def wait(self, longest_s: float = LONGEST_S) -> int | None:
        """Its exit status, None when it runs longer."""
        until = time.monotonic() + longest_s
        while self.poll() is None and time.monotonic() < until:
            time.sleep(POLL_S)
        return self.status

    def end(self) -> int:
        """Its exit status; it is killed when it hangs."""
        status = self.wait()
        if status is None:
            os.killpg(self.pid, signal.SIGKILL)
            status = self.wait()
            assert status is not None
        return status

    def log(self) -> str:
        """What it has printed."""
        return self.path.read_bytes()[self.begins :].decode(errors="replace")

    def kill(self, after_s: float, alone: bool) -> bool:
        """Kills it when it is `after_s` old: its group, or its first process `alone`. False when it had
        ended. Processes that outlive their first stay: the next command has to bear them."""
        if self.wait(max(0.0, after_s - self.age_s)) is not None:
            return False
        os.kill(self.pid, signal.SIGKILL) if alone else os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        return True


def preload() -> None:
    """Imports what the stages do, without starting a thread."""
    for name in ("tasks", "eval.stages", "studies.grid", "data.pack", "data.public_corpora"):
        importlib.import_module(name)
    for name in ("data.tokenise_timed", "faster_whisper", "eval.report.page"):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)


def _become(words: list[str], log: Path, clock: Path | None) -> NoReturn:
    """Turns this fork into `python <words>`."""
    os.setsid()
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(1, 2)
    os.chdir(ROOT)
    if clock is not None:
        os.environ |= jumping_clock(clock)
        exec(CLOCK, {})
    vars(importlib.import_module("studies.grid"))["STARTED_S"] = time.time()  # it is a new runner
    status = 0
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            sys.path.insert(0, str(ROOT))
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def first_file_s(child: Child) -> float:
    """Seconds until something was in its folder: a kill before that is one of an import."""
    while child.poll() is None and not any(child.folder.iterdir()):
        time.sleep(POLL_S)
    return child.age_s


def jumping_clock(world: Path) -> dict[str, str]:
    """The environment in which every Python process has another clock."""
    folder = world / "clock"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(CLOCK)
    return {"PYTHONPATH": str(folder)}


def odd_times(folder: Path, rng: random.Random) -> None:
    """Gives every file another age: of 2001 or of 2040."""
    for path in folder.rglob("*"):
        when = rng.choice((978_307_200, 2_208_988_800)) + rng.random()
        os.utime(path, (when, when))


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def damaged_file(folder: Path, rng: random.Random) -> Path | None:
    """One of its files by chance; a lock has no content, and a log no reader."""
    found = [path for path in files_of(folder) if path.suffix not in (".log", ".txt", ".lock")]
    return rng.choice(found) if found else None


def damage(path: Path, how: str, rng: random.Random) -> None:
    """Cuts a file in half, or changes one bit of it."""
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def filled(folder: Path, like: Path | None, rng: random.Random) -> bool:
    """Mounts a tmpfs there with room for a part of what is in `like`; None: makes room in it. False where
    it is not allowed."""
    if shutil.which("mount") is None:
        return False
    options = "remount,size=1g"
    if like is not None:
        folder.mkdir(parents=True)
        size = sum(-(-path.stat().st_size // 4096) * 4096 for path in files_of(like))
        options = f"size={max(4096, int(size * rng.uniform(0.2, 0.8)))}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def unmounted(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], check=True)
