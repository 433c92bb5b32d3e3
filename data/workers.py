"""Processes that work for one owner and end with it, however it ends."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

POLL_S = 1.0


def _begin(owner: int, start: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    # A pool's queue stays open while other workers hold it: without this, the workers of an owner that was
    # killed finish what is in it and then wait for ever, with all their memory.
    threading.Thread(target=_leave_with, args=(owner,), daemon=True).start()
    if start is not None:
        start(*arguments)


def _leave_with(owner: int) -> None:
    while os.getppid() == owner:
        time.sleep(POLL_S)
    os._exit(1)


@contextmanager
def worker_processes(
    count: int, start: Callable[..., None] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """A pool of `count` spawned processes, each of which first calls `start(*arguments)`.

    An error or Ctrl-C in the body drops what has not begun instead of waiting for it; when this process is
    killed, the workers end within POLL_S seconds and what they are at.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, _begin, (os.getpid(), start, arguments))
    try:
        yield pool
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()
