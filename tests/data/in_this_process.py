"""What stands for `data.workers.worker_processes` where no process is wanted."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any


class InThisProcess:
    """A pool of workers without processes."""

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future:
        done: Future = Future()
        done.set_result(work(*arguments))
        return done

    def map(self, work: Callable[..., Any], jobs: Any, chunksize: int = 1) -> Iterator[Any]:
        return map(work, jobs)


@contextmanager
def in_this_process(
    count: int, start: Callable[..., None] | None = None, *arguments: Any
) -> Iterator[InThisProcess]:
    if start is not None:
        start(*arguments)
    yield InThisProcess()
