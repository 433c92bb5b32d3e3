"""Asked to stop: Ctrl-C, and the signals by which schedulers say that a job will have to leave.

Standard library only: the grid, which starts trainings, reads it too.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# SLURM warns with the signal that --signal names (submitit: USR2; many sites: USR1), preempts with TERM.
SCHEDULER_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
STOP_SIGNALS = (signal.SIGINT, *SCHEDULER_SIGNALS)


class Interrupted(BaseException):
    """Stopped on request; what there was to save is saved. `number`: the signal that asked.

    Not an Exception: no `except Exception` between the signal and the command line may swallow it.
    """

    def __init__(self, message: str, number: int = signal.SIGINT):
        super().__init__(message)
        self.number = number


@contextmanager
def handled(
    numbers: Sequence[int], handler: Callable[[int, Any], None] | signal.Handlers
) -> Iterator[None]:
    """`handler` for these signals, and the handlers of before afterwards. Other threads than the first
    cannot have handlers: there it does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """Raises Interrupted where a scheduler's signal arrives: nothing is under way that has to be saved."""

    def leave(number: int, frame: Any) -> None:
        raise Interrupted(f"stopped by {signal.Signals(number).name}", number)

    with handled(SCHEDULER_SIGNALS, leave):
        yield


class StopRequest:
    """Notes the first signal in `number` (None: none yet), for code that stops where it can.

    A second Ctrl-C is KeyboardInterrupt. Schedulers repeat theirs, which means nothing new.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._handling: Any = None

    def start(self) -> None:
        """Handles signals until `end`."""
        self._handling = handled(STOP_SIGNALS, self._note)
        self._handling.__enter__()

    def end(self) -> None:
        """The handlers of before `start`; a second time does nothing."""
        if self._handling is not None:
            self._handling.__exit__(None, None, None)
            self._handling = None

    def _note(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT == self.number:
            raise KeyboardInterrupt
        if self.number is None:
            self.number = number
