"""Synthesise, score, report, compare, board. python evaluate.py stage=<stage> [key=value ...]

    all (default)  synthesise, score, report      compare     paired statistics over finished evaluations
    synthesize     wavs of models                 board       their pages
    score          rows of scores                 listening   a blind test; ratings: what its listeners said
    report         table and page                 efficiency  speed and memory of models
    drift          long readings, from beginning to end
    play           a local page: type a sentence, hear models side by side
    advise         which plan fits a GPU, from counted bytes

python evaluate.py stage=<stage> --help shows the keys of a stage. Names, paths and texts are taken as the shell
passes them, commas, quotes and brackets too; only {name: folder} and [a, b] are read as such.
"""

import errno
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich.console import Console

from eval.command_line import check_keys, help_of, put_literals, split_literals, stage_of
from eval.settings import Systems
from eval.stages import STAGES, run_report_after
from eval.store.files import InputError
from eval.testset import parse_shard
from mamtra.lm.checkpoint import CheckpointError
from settings import SettingsError, typed_settings

GIVEN = sys.argv[1:]  # before Hydra sees them
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # full, over a quota, read-only


def in_processes(s: Systems, devices: list[str], console: Console) -> int:
    """The work of one command, or of its shard, shared among one process per device; the worst exit code.

    They end with this one, whatever ends it but SIGKILL.
    """
    index, count = parse_shard(s.shard)
    s.out.mkdir(parents=True, exist_ok=True)
    given = [a for a in GIVEN if not a.startswith(("device=", "shard="))]
    running = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for i, device in enumerate(devices):
            shard = f"{index + count * i}/{count * len(devices)}"
            log = s.out / f"shard-{shard.replace('/', 'of')}.log"
            more = [f"device={device}", f"shard={shard}"]
            with log.open("w") as stream:
                command = [sys.executable, str(Path(__file__).resolve()), *given, *more]
                process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
            console.print(f"{device}: shard {shard} -> {log}", markup=False, soft_wrap=True)
            running.append((process, log))
        codes = [process.wait() for process, _ in running]
    finally:
        for process, _ in running:
            process.terminate()
    for code, (_, log) in zip(codes, running, strict=True):
        if code:
            lines = log.read_text().strip().splitlines()
            console.print(f"{log}: {lines[-1] if lines else 'no output'}", markup=False)
    return max(codes, key=abs)


@hydra.main(config_path="configs", config_name="evaluate", version_base="1.3")
def main(config: DictConfig) -> None:
    console = Console()
    with one_line_errors(console):
        put_literals(config, split_literals(GIVEN)[1])
        kind, work = STAGES[config.stage]
        s = typed_settings(kind, config)
        if isinstance(s, Systems) and isinstance(s.device, list) and len(s.device) > 1:
            code = in_processes(s, s.device, console)
            if not code and parse_shard(s.shard)[1] == 1:
                code = run_report_after(s, console)
        else:
            code = work(s, console)
        sys.exit(code)


@contextmanager
def one_line_errors(console: Console) -> Iterator[None]:
    """What the user can mend is one message and exit code 2; a stop is 130."""
    try:
        yield
    except (InputError, CheckpointError, SettingsError) as error:
        console.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)
    except (OSError, sqlite3.OperationalError) as error:
        if isinstance(error, OSError):
            full = error.errno in DISK
        else:
            full = "full" in str(error) or "readonly" in str(error)
        if not full:
            raise
        console.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        console.print("what is finished is kept: make room, and run the same command again")
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("\nstopped; what is finished is kept, run the same command to go on")
        sys.exit(130)


if __name__ == "__main__":
    with one_line_errors(Console()):
        if {"--help", "-h"} & set(GIVEN):
            asked = any(argument.startswith("stage=") for argument in GIVEN)
            print(help_of(stage_of(GIVEN)) if asked else __doc__)
            sys.exit(0)
        check_keys(GIVEN)
        sys.argv[1:] = split_literals(GIVEN)[0]
    main()
