"""How a command ends: with one line for what a user can act on, and a job back in its queue."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from lightning_modules.guards import NonFiniteLossError
from lightning_modules.memory_guard import OutOfMemoryError
from lightning_modules.slurm import current_step, first_process, requeue
from lightning_modules.stopping import SCHEDULER_SIGNALS, Interrupted, handled, leaving_at_once


@contextmanager
def clear_errors() -> Iterator[None]:
    """Ends the process with one line for what a user can act on; HYDRA_FULL_ERROR=1 shows the
    traceback. A job that a scheduler asked to stop goes back into its queue."""
    try:
        with leaving_at_once():
            yield
    except Interrupted as stop:
        if current_step() and stop.number in SCHEDULER_SIGNALS and not first_process():
            sys.exit(0)  # srun would kill the first process, which has to requeue the job
        print(f"\n{stop}")
        # SLURM ends a job as soon as it has requeued it, also this process, which has yet to say so.
        with handled(SCHEDULER_SIGNALS, signal.SIG_IGN):
            again = requeue() if stop.number in SCHEDULER_SIGNALS and first_process() else None
            print(again or "run the same command again to continue", flush=True)
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except (
        *(ValueError, OSError, NonFiniteLossError, OutOfMemoryError),
        SafetensorError,  # of a full disk, too
    ) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        sys.exit(f"error: {error}")
