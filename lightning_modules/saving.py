"""Saving where a disk may be full or read-only: what is there stays whole, and every rank learns of it."""

import shutil
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from lightning_modules.run_folder import RunError


class CheckpointFiles(TorchCheckpointIO):
    """Lightning's files, but an error of the disk is kept in `failure`: raised in the first process alone, it
    would leave the others waiting for it."""

    failure: Exception | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options=None) -> None:
        self.failure = None
        try:
            super().save_checkpoint(checkpoint, path, storage_options)
        except (
            OSError,
            RuntimeError,
        ) as error:  # torch's writer makes a RuntimeError of a full disk
            self.failure = error
            Path(path).unlink(missing_ok=True)


def not_saved(path: Path, step: int, cause: Exception | None) -> RunError:
    """The error of a checkpoint that was not written. `cause` is known in the first process."""
    free = shutil.disk_usage(path.parent).free
    size = f", the last one has {path.stat().st_size / 1e9:.2f} GB" if path.exists() else ""
    kept = f"{path} of before is whole" if path.exists() else "there is none of before"
    return RunError(
        f"the state after step {step} could not be saved in {path.parent} ({cause or 'first process'}): "
        f"{free / 1e9:.2f} GB free{size}; {kept}. Make room, and run the same command again"
    )


def check_space(folder: Path, n_bytes: int) -> None:
    """Raises RunError when a state of `n_bytes` would not fit beside the one that it replaces."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise RunError(
            f"{folder}: a checkpoint of this run takes about {n_bytes / 1e9:.2f} GB while it is written, "
            f"{free / 1e9:.2f} GB are free: make room, or choose another run=..."
        )
