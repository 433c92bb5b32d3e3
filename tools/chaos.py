"""Kills, full disks, damaged files, jumping clocks, two runners: what survives. `make chaos`.

python -m tools.chaos out=<folder> [kills=50] [stages=corpus,tokenise,...] [seed=0] [results=<file.csv>]

Every stage (`tools.chaos_stages`) runs once undisturbed. Its artefacts (weights, rows and files, without times)
are what it has to have made after every fault, when the same command is given again:

- kill: SIGKILL at a random moment between its first file and its end, to the process group (a node that fails)
  or, in turns, to the first process alone (the kernel that frees memory); up to four times in a row. Every
  second run has file times of another century and a clock that jumps by an hour and a day.
- two: two of the command at once in one folder.
- full disk: in a tmpfs that holds less than the stage writes; then room is made.
- cut, flip: a run is killed, and one of its files, by chance, is cut in half or has one bit changed. It ends
  with equal artefacts, or it stops and names that file; then the file is deleted.

Prints faults, survivors, rows lost and steps done again of each stage, and writes them to `results`.
"""

import csv
import os
import random
import re
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from data.arguments import parse_arguments
from tools.chaos_faults import (
    Child,
    damage,
    damaged_file,
    filled,
    first_file_s,
    odd_times,
    preload,
    unmounted,
)
from tools.chaos_stages import (
    CHECKPOINT_EVERY,
    NOT_WHOLE,
    STAGES,
    Artefacts,
    Stage,
    evaluate_for_board,
    make_world,
    repeated_steps,
)

IN_A_ROW = 4  # kills of one run
CLOCK_IN = 2  # one of so many runs has another clock
DAMAGES = ("cut", "flip")


@dataclass
class Count:
    """Of one kind of fault in one stage. `named`: survived by naming the file."""

    stage: str
    fault: str
    injected: int = 0
    survived: int = 0
    named: int = 0
    rows_lost: int = 0
    repeated_steps: int = 0

    def note(self, what: str, wrong: list[str], faults: int = 1) -> None:
        self.injected += faults
        self.survived += faults if not wrong else 0
        text = "equal" if not wrong else f"DIFFERENT: {', '.join(wrong[:4])}"
        print(f"  {self.fault}: {what}: {text}", flush=True)


class Disturbed:
    """One stage under faults: `whole` is what its undisturbed run made."""

    def __init__(self, name: str, stage: Stage, world: Path, out: Path, rng: random.Random):
        self.name, self.stage, self.world, self.out, self.rng = name, stage, world, out / name, rng
        self.counts = {f: Count(name, f) for f in ("kill", "two", "full disk", *DAMAGES)}
        self.log = ""
        child = self.start("whole")
        self.busy_s = first_file_s(child)
        status = child.end()
        self.took_s = child.age_s
        if status:
            raise RuntimeError(f"{name}: the undisturbed run failed:\n{child.log()[-2000:]}")
        self.whole = stage.artefacts(self.out / "whole")
        where = f"{self.busy_s:.0f} s to its first file, {len(self.whole)} artefacts"
        print(f"{name}: {self.took_s:.0f} s undisturbed, {where}", flush=True)

    def start(self, folder: str, clock: bool = False) -> Child:
        path = self.out / folder
        path.mkdir(parents=True, exist_ok=True)
        return Child(self.stage.command(self.world, path), path, self.world if clock else None)

    def finish(self, folder: str, clock: bool = False) -> tuple[int, str]:
        """(exit status, what was printed) of the command."""
        child = self.start(folder, clock)
        return child.end(), child.log()

    def differences(self, folder: str, count: Count) -> list[str]:
        """Names of artefacts that are not those of the undisturbed run."""
        try:
            found: Artefacts = self.stage.artefacts(self.out / folder)
        except NOT_WHOLE as error:
            return [f"{type(error).__name__} {error}"]
        lost = self.whole.keys() - found.keys()
        count.rows_lost += len(lost)
        changed = [n for n, value in self.whole.items() if found.get(n, value) != value]
        return sorted(lost) + changed + sorted(found.keys() - self.whole.keys())

    def killed(self, folder: str, clock: bool = False, alone: bool = False) -> bool:
        """Starts the command and kills it at a random moment; False when it had ended before."""
        child = self.start(folder, clock)
        done = child.kill(self.rng.uniform(self.busy_s, self.took_s), alone)
        self.log += child.log()
        return done

    def kills(self, number: int) -> None:
        count, run = self.counts["kill"], 0
        while count.injected < number:
            folder, clock, faults = f"kill-{run}", run % CLOCK_IN == 1, 0
            self.log = ""
            while faults < min(IN_A_ROW, number - count.injected):
                alone = (count.injected + faults) % 2 == 1
                if not self.killed(folder, clock, alone):
                    break  # it has ended: only another run can be killed in its work
                faults += 1
                if clock:
                    odd_times(self.out / folder, self.rng)
            status, log = self.finish(folder, clock)
            again = repeated_steps(self.log + log)
            count.repeated_steps = max(count.repeated_steps, again)
            wrong = self.differences(folder, count) + ([f"status {status}"] if status else [])
            if again > faults * CHECKPOINT_EVERY:
                wrong.append(f"{again} steps again")
            said = f"{faults} times in run {run}{', another clock' if clock else ''}"
            count.note(said, wrong, faults)
            run += 1

    def two(self) -> None:
        both = [self.start("two") for _ in range(2)]
        states = [child.end() for child in both]
        if all(states):
            states.append(self.finish("two")[0])
        wrong = self.differences("two", self.counts["two"])
        self.counts["two"].note(f"status {states}", wrong)

    def full_disk(self) -> None:
        count, folder = self.counts["full disk"], "full"
        if not filled(self.out / folder, self.out / "whole", self.rng):
            print("  no tmpfs can be mounted here: no full disk", flush=True)
            return
        try:
            status, log = self.finish(folder)
            failed = (
                status or " 1 failed" in log
            )  # a sweep ends well with a failed cell in its table
            wrong = [] if failed else ["status 0 on a full disk"]
            if not re.search(r"^error: .*(space|disk|written)| 1 failed", log, re.MULTILINE):
                wrong.append("no line that says why")
            filled(self.out / folder, None, self.rng)
            again, _ = self.finish(folder)
            wrong += self.differences(folder, count) + ([f"status {again}"] if again else [])
            count.note(f"status {status}, with room {again}", wrong)
        finally:
            unmounted(self.out / folder)

    def damages(self, how: str) -> None:
        count, folder = self.counts[how], how
        path = None
        while path is None:  # a kill may come before the first file
            self.killed(folder)
            path = damaged_file(self.out / folder, self.rng)
        damage(path, how, self.rng)
        name = str(path.relative_to(self.out / folder))
        status, log = self.finish(folder)
        wrong = []
        if status:
            count.named += 1
            named = any(part in log for part in (path.name, path.parent.name))
            wrong = [] if named else [f"status {status} without its name"]
            if self.stage.indivisible:
                shutil.rmtree(path.parent)
            path.unlink(missing_ok=True)
            status, _ = self.finish(folder)
        different = self.differences(folder, count)
        if different and f"{path} is damaged" in log and all(path.name in d for d in different):
            count.named, different = (
                count.named + 1,
                [],
            )  # the rows of that file, and they are named
        wrong += different + ([f"status {status}"] if status else [])
        count.note(name, wrong)


def spread(kills: int, stages: Mapping[str, Stage]) -> dict[str, int]:
    """How many of the kills each stage gets, the quick ones more: by the largest remainder."""
    total = sum(stage.share for stage in stages.values())
    exact = {name: kills * stage.share / total for name, stage in stages.items()}
    found = {name: int(value) for name, value in exact.items()}
    for name in sorted(exact, key=lambda n: found[n] - exact[n])[: kills - sum(found.values())]:
        found[name] += 1
    return found


def disturb(name: str, world: Path, out: Path, kills: int, rng: random.Random) -> list[Count]:
    """All faults of a stage. Raises RuntimeError when its undisturbed run fails."""
    stage = Disturbed(name, STAGES[name], world, out, rng)
    stage.kills(kills)
    stage.full_disk()
    if name != "train2":  # its first process reads, writes and locks as that of `train` does
        stage.two()
        for how in DAMAGES:
            stage.damages(how)
    return [count for count in stage.counts.values() if count.injected]


def _count(row: dict[str, str]) -> Count:
    """A row of the file."""
    names = ("injected", "survived", "named", "rows_lost", "repeated_steps")
    return Count(row["stage"], row["fault"], *(int(row[name]) for name in names))


def write_counts(path: Path, counts: list[Count]) -> None:
    """Rows of stages that were not run stay as they are."""
    new = {count.stage for count in counts}
    if path.is_file():
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["stage"] not in new]
        before = [_count(row) for row in rows]
        counts = sorted([*before, *counts], key=lambda c: list(STAGES).index(c.stage))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Count)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(count) for count in counts)


def main() -> None:
    given = {"kills": "50", "stages": ",".join(STAGES), "seed": "0", "results": ""}
    given |= parse_arguments(__doc__, required=("out",), optional=tuple(given))
    names = given["stages"].split(",")
    if unknown := set(names) - STAGES.keys():
        sys.exit(f"error: unknown stage {sorted(unknown)[0]!r}; valid: {', '.join(STAGES)}")
    out, rng = Path(given["out"]).resolve(), random.Random(int(given["seed"]))
    if out.exists():
        sys.exit(f"error: {out} exists: choose another out=")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    started_s, world, counts = time.monotonic(), out / "world", []
    make_world(world)
    preload()
    if "board" in names and Child(evaluate_for_board(world), world).end():
        sys.exit(f"error: the evaluation that the board is made of failed, see {world}/log.txt")
    kills = spread(int(given["kills"]), {name: STAGES[name] for name in names})
    for name in names:
        counts += disturb(name, world, out, kills[name], rng)
        if given["results"]:
            write_counts(Path(given["results"]), counts)
    for one in counts:
        done = f"{one.survived} of {one.injected} survived ({one.named} by naming the file)"
        lost = f"{one.rows_lost} rows lost, {one.repeated_steps} steps done again"
        print(f"{one.stage}, {one.fault}: {done}, {lost}")
    injected, survived = (sum(getattr(c, n) for c in counts) for n in ("injected", "survived"))
    minutes = (time.monotonic() - started_s) / 60
    print(f"{survived} of {injected} faults survived, {minutes:.0f} minutes")
    sys.exit(survived < injected)


if __name__ == "__main__":
    main()
