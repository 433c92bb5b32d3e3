"""A run folder: what lies in it, and whether it can be used for a run with these settings.

<run>/config.json            settings and input hashes, compared when the folder is used again
<run>/checkpoints/last.ckpt  training state;  <run>/checkpoints/best  weights of the best validation
<run>/metrics.csv            loss curves
<run>/<export name>          weights, layer plan, provenance; written last: it marks a finished run
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


class RunError(ValueError):
    """The run folder cannot be used as asked; the message says what to do."""


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run. `name` of what it exports: a model's folder ("teacher", "student") or, on the
    speech side, one file of weights."""

    path: Path
    name: str

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.ckpt"

    @property
    def export(self) -> Path:
        return self.path / self.name

    @property
    def finished(self) -> bool:
        return (self.export / "model.json").exists() or self.export.is_file()

    @property
    def description(self) -> Path:
        return self.path / "config.json"

    def check(
        self, settings: Mapping[str, Any], inputs: Mapping[str, Path], overwrite: bool
    ) -> dict[str, Any]:
        """The identity of a run with these settings, if this folder can be used for it.

        `inputs` (files or folders) enter the identity by hash, not by path. With `overwrite`, an
        earlier run is discarded. Raises FileNotFoundError for a missing input, and RunError when
        there is something to lose: a checkpoint or an export of a run with another identity.
        """
        hashes = {name: sha256(path) for name, path in inputs.items()}
        identity = json.loads(json.dumps({"settings": settings, "input_sha256": hashes}))
        if overwrite and self.description.exists():
            for part in (self.checkpoints, self.path / "log", self.export):
                shutil.rmtree(part, ignore_errors=True)  # leaves an export that is a file
            for file in (self.export, self.path / "metrics.csv", self.description):
                file.unlink(missing_ok=True)
        if not self.last.exists() and not self.finished:
            return identity
        try:
            stored = json.loads(self.description.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise RunError(
                f"{self.path} holds a model but no readable config.json ({error}); "
                "choose another run=..."
            ) from error
        changes = differences(stored, identity)
        if changes:
            raise RunError(
                f"{self.path} holds a run with other settings: {'; '.join(changes)}. "
                "Choose another run=..., or overwrite=true to discard it."
            )
        return identity

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Creates the folder of a run that `check` allowed."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_json(self.description, identity)

    def resume_path(self) -> Path | None:
        """last.ckpt when there is one. Raises RunError when it is not a training checkpoint."""
        if not self.last.exists():
            return None
        try:
            content = torch.load(self.last, map_location="cpu", weights_only=True)
            whole = {"state_dict", "loops", "optimizer_states", "global_step"} <= content.keys()
        except Exception as error:  # unpickling damage raises every kind of exception
            raise RunError(f"{self.last} is not a checkpoint ({error}); {_ADVICE}") from error
        if not whole:
            raise RunError(f"{self.last} is not a training checkpoint; {_ADVICE}")
        return self.last


_ADVICE = "delete it to start this run again, or use overwrite=true"


def differences(stored: Any, new: Any, where: str = "") -> list[str]:
    """Human-readable list of "key: stored -> new" of two nested dicts."""
    if isinstance(stored, dict) and isinstance(new, dict):
        keys = sorted(stored.keys() | new.keys())
        found = [
            differences(stored.get(k), new.get(k), f"{where}.{k}" if where else k) for k in keys
        ]
        return [line for lines in found for line in lines]
    return [] if stored == new else [f"{where}: {stored} -> {new}"]


def sha256(path: Path) -> str:
    """Hash of a file, or of all files of a folder with their names."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(b"" if file == path else str(file.relative_to(path)).encode())
        with file.open("rb") as stream:  # in pieces: a teacher can have gigabytes
            while piece := stream.read(1 << 24):
                digest.update(piece)
    return digest.hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically."""
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(path)
