"""Kills, full disks and flipped bits: what survives. `make chaos`.

python -m tools.chaos out=<folder> [kills=10] [stages=pack,train,train2,grid] [seed=0]

Every stage is run once undisturbed, then `kills` times in a folder of its own: its processes get SIGKILL at
a random moment of the time that the undisturbed run took, then the same command is given again. The artefacts
(weights, rows without times) have to be those of the undisturbed run. Besides, of each stage: a run on a full
disk (where tmpfs can be mounted), and two at once in one folder. The last lines count faults, survivors and
steps that were done again.
"""

import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from data.arguments import parse_arguments

ROOT = Path(__file__).resolve().parents[1]
LONGEST_S = 1800.0
TINY = (
    *("batch.max_tokens=512", "trainer.val_every=10", "trainer.checkpoint_every=5", "seed=1"),
    *(
        "trainer.log_every=1",
        "trainer.precision=32-true",
        "lm.sizes.n_layers=2",
        "lm.sizes.d_ff=32",
    ),
    *("lm.sizes.d_model=32", "lm.sizes.n_heads=4", "lm.sizes.n_kv_heads=2", "lm.sizes.head_dim=8"),
    *("alignment.layers=[0]", "steps=30"),
)


@dataclass(frozen=True)
class Stage:
    """A command, in a folder that it fills, and what it has to have made there in the end."""

    command: Callable[[Path], list[str]]
    artefacts: Callable[[Path], Mapping[str, str]]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _train(*more: str) -> Callable[[Path], list[str]]:
    def command(folder: Path) -> list[str]:
        return ["train.py", "experiment=mini_teacher", f"run={folder}/run", *TINY, *more]

    return command


def _run(folder: Path) -> dict[str, str]:
    """Weights, and the curves without what depends on the clock."""
    with (folder / "run/metrics.csv").open(newline="") as file:
        timed = ("elapsed_s", "tokens_per_s")
        rows = [{k: v for k, v in row.items() if k not in timed} for row in csv.DictReader(file)]
    weights = sha256(folder / "run/teacher/model.safetensors")
    return {"weights": weights, "curves": json.dumps(rows)}


def _pack(folder: Path) -> list[str]:
    table = "tokens=assets/mini/tokens.parquet"
    return ["-m", "data.pack", table, f"out={folder}/store", "text=characters", "codes=1000"]


def _grid(folder: Path) -> list[str]:
    small = (
        "steps=4",
        "batch.max_tokens=512",
        "init=calibrated",
        "ratio=1to1",
        "placement=front,back",
    )
    scored = "cell.evaluate={limit: 2, ce_limit: 2}"
    return ["train.py", "-m", "experiment=mini_grid", f"run={folder}/grid", *small, scored]


def _cells(folder: Path) -> dict[str, str]:
    with (folder / "grid/grid.csv").open(newline="") as file:
        names = ("cell", "status", "wer")
        rows = [{k: row[k] for k in names if k in row} for row in csv.DictReader(file)]
    return {"cells": json.dumps(sorted(rows, key=json.dumps))}


STAGES: Mapping[str, Stage] = {
    "pack": Stage(_pack, lambda folder: {"store": sha256(folder / "store/store.json")}),
    "train": Stage(_train(), _run),
    "train2": Stage(_train("trainer.devices=2", "trainer.strategy=ddp"), _run),
    "grid": Stage(_grid, _cells),
}


def start(stage: Stage, folder: Path) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / "log.txt").open("a")
    command = [sys.executable, *stage.command(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


def finish(stage: Stage, folder: Path) -> int:
    """Runs the command to its end; its exit status."""
    return start(stage, folder).wait(LONGEST_S)


def kill_at(stage: Stage, folder: Path, after_s: float) -> bool:
    """Starts the command and kills its process group; False when it had ended before."""
    process = start(stage, folder)
    try:
        process.wait(after_s)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def differences(wanted: Mapping[str, str], folder: Path, stage: Stage) -> list[str]:
    try:
        found = stage.artefacts(folder)
    except OSError as error:
        return [str(error)]
    return [name for name, value in wanted.items() if found.get(name) != value]


@dataclass
class Count:
    """Of one stage."""

    faults: int = 0
    survived: int = 0
    repeated_steps: int = 0

    def note(self, what: str, wrong: list[str]) -> None:
        self.faults += 1
        self.survived += not wrong
        print(f"  {what}: {'equal' if not wrong else 'DIFFERENT: ' + ', '.join(wrong)}", flush=True)


def disturb(name: str, stage: Stage, out: Path, kills: int, rng: random.Random) -> Count:
    """All faults of a stage. Raises RuntimeError when its undisturbed run fails."""
    count, whole = Count(), out / name / "whole"
    begun = time.monotonic()
    if finish(stage, whole):
        raise RuntimeError(f"{name}: the undisturbed run failed, see {whole}/log.txt")
    took_s, wanted = time.monotonic() - begun, stage.artefacts(whole)
    print(f"{name}: {took_s:.0f} s undisturbed", flush=True)
    for number in range(kills):
        folder, after_s = out / name / f"kill-{number}", rng.uniform(0, took_s)
        killed = kill_at(stage, folder, after_s)
        status = finish(stage, folder)
        count.repeated_steps = max(count.repeated_steps, logged(folder) - logged(whole))
        wrong = differences(wanted, folder, stage) or ([f"status {status}"] if status else [])
        count.note(f"kill -9 after {after_s:.1f} s" if killed else "ended before the kill", wrong)
    folder = out / name / "two"
    both = [start(stage, folder) for _ in range(2)]
    states = [process.wait(LONGEST_S) for process in both]
    if not any(status == 0 for status in states):
        finish(stage, folder)
    count.note(f"two at once, status {states}", differences(wanted, folder, stage))
    full = out / name / "full"
    if mounted(full, megabytes=1):
        status = finish(stage, full)
        subprocess.run(["mount", "-o", "remount,size=1g", str(full)], check=True)
        again = finish(stage, full)
        wrong = differences(wanted, full, stage) or ([] if status and not again else ["status"])
        count.note(f"full disk, status {status}, then room", wrong)
        subprocess.run(["umount", str(full)], check=True)
    return count


def logged(folder: Path) -> int:
    """Steps that were said to be done; those that were done twice count twice."""
    said = (folder / "log.txt").read_text().splitlines()
    return sum(line.startswith("step ") for line in said)


def mounted(folder: Path, megabytes: int) -> bool:
    """Mounts a small tmpfs there; False where that is not allowed."""
    folder.mkdir(parents=True)
    options = f"size={megabytes}m"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        print("  no tmpfs can be mounted here: no full disk", flush=True)
        return False
    return True


def main() -> None:
    given = {"kills": "10", "stages": ",".join(STAGES), "seed": "0"}
    given |= parse_arguments(__doc__, required=("out",), optional=tuple(given))
    names = given["stages"].split(",")
    if unknown := set(names) - STAGES.keys():
        sys.exit(f"error: unknown stage {sorted(unknown)[0]!r}; valid: {', '.join(STAGES)}")
    out, rng = Path(given["out"]).resolve(), random.Random(int(given["seed"]))
    if out.exists():
        sys.exit(f"error: {out} exists: choose another out=")
    counts = {n: disturb(n, STAGES[n], out, int(given["kills"]), rng) for n in names}
    for name, count in counts.items():
        done = f"{count.faults} faults, {count.survived} survived"
        print(f"{name}: {done}, at most {count.repeated_steps} steps done again")
    sys.exit(any(count.survived < count.faults for count in counts.values()))


if __name__ == "__main__":
    main()
