"""Worker processes end with their owner."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data.workers import worker_processes

ROOT = Path(__file__).parents[2]
OWNER = """
import os, time
from data.workers import worker_processes
if __name__ == "__main__":
    with worker_processes(2) as pool:
        jobs = [pool.submit(time.sleep, 60) for _ in range(8)]
        print(*pool._processes, flush=True)
        time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_an_owner_that_is_killed(tmp_path, how):
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        workers = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(workers) == 2 and all(map(alive, workers))
        owner.send_signal(how)
        owner.wait(10)
    end = time.monotonic() + 30
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(alive, workers))


def test_an_error_drops_what_has_not_begun():
    began = time.monotonic()
    with pytest.raises(KeyError), worker_processes(1) as pool:
        jobs = [pool.submit(time.sleep, 0.5) for _ in range(60)]
        jobs[0].result()
        raise KeyError
    assert time.monotonic() - began < 20
    assert jobs[-1].cancelled()
