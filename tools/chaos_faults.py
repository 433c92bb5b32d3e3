"""The faults of `make chaos`: a process that is killed, a disk that is full, a damaged file, another clock."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

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
    """A command whose output goes to a log outside its folder, in a process group of its own."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str] = {}):
        self.folder, self.started_s = folder, time.monotonic()
        self.path = folder.with_name(f"{folder.name}.{LOG}")
        with self.path.open("a") as log:
            self.begins = log.tell()
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **environment},
            )

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.started_s

    def wait(self) -> int:
        """Its exit status; it is killed when it hangs, which is -9."""
        try:
            return self.process.wait(LONGEST_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()

    def log(self) -> str:
        """What it has printed."""
        return self.path.read_bytes()[self.begins :].decode(errors="replace")

    def kill(self, after_s: float, alone: bool) -> bool:
        """Kills it when it is `after_s` old: its group, or its first process `alone`. False when it had
        ended. Processes that outlive their first stay: the next command has to bear them."""
        try:
            self.process.wait(max(0.0, after_s - self.age_s))
            return False
        except subprocess.TimeoutExpired:
            if alone:
                os.kill(self.process.pid, signal.SIGKILL)
            else:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return True


def first_file_s(child: Child) -> float:
    """Seconds until something was in its folder: a kill before that is one of an import."""
    while child.process.poll() is None and not any(child.folder.iterdir()):
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
