"""Files that appear whole or not at all, tables that notice damage, folders of one command at a time."""

import errno
import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

LEAST_BYTES = 1 << 16  # of free space, below which an error of a writer is one of a full disk


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name for what becomes `path` when the block ends. Makes its folder.

    An error leaves what was there before. Raises OSError naming a full disk: writers of audio and tables
    have errors of their own, which do not say it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException as error:
        full = shutil.disk_usage(path.parent).free < LEAST_BYTES
        partial.unlink(missing_ok=True)
        if full and isinstance(error, Exception):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def write_table(path: Path, table: pd.DataFrame) -> None:
    """A parquet file whose pages have checksums. Errors as `whole`."""
    with whole(path) as partial:
        table.to_parquet(partial, index=False, compression="zstd", write_page_checksum=True)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Its rows. Raises ValueError naming a file that is damaged, FileNotFoundError one that is not there."""
    try:
        names = None if columns is None else list(columns)
        table = pq.read_table(path, columns=names, page_checksum_verification=True)
        return table.to_pandas()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete it, and run the same command again"
        ) from error


def read_note(path: Path) -> Any | None:
    """The JSON value of a file, None without one. Raises ValueError naming a file that is damaged."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete its folder, and run the same command again"
        ) from error


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Waits until no other command fills `folder`, which then finds what that one has made. What a command
    that was killed has not finished is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))  # beside it: a corpus is hashed whole
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{folder} is being filled by another command: waiting for it", flush=True)
        lock.acquire()
    try:
        for left in folder.rglob("*.partial"):
            left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()
