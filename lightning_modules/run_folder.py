"""A run folder: what lies in it, and whether it can be used for a run with these settings.

<run>/config.json            settings and input hashes, compared when the folder is used again; steps it is for
<run>/checkpoints/last.ckpt  training state;  <run>/checkpoints/best  weights of the best validation
<run>/metrics.csv            loss curves
<run>/kept/<epoch or step>   models of the steps that trainer.keep names
<run>/lock, lock.json        held by the process that trains here, and which one that is
<run>/<export name>          weights, layer plan, provenance; written last: it marks a finished run
"""

import hashlib
import json
import os
import re
import shutil
import socket
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from lightning_modules.identity import result_settings
from lightning_modules.slurm import current_job, first_process, restarts


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

    @property
    def kept(self) -> Path:
        return self.path / "kept"

    @property
    def best(self) -> Path:
        return self.like_export(self.checkpoints / "best")

    def like_export(self, path: Path) -> Path:
        """`path` of a model in the form of the export: a folder, or a file with its suffix."""
        return path.with_name(path.name + Path(self.name).suffix)

    def check(
        self, settings: Mapping[str, Any], inputs: Mapping[str, Path], overwrite: bool
    ) -> dict[str, Any]:
        """The identity of a run with these settings, if this folder can be used for it. Writes nothing.

        `inputs` (files or folders) enter the identity by hash, not by path. With `overwrite`, an earlier
        run is no obstacle. Raises FileNotFoundError for a missing input, and RunError when there is
        something to lose: a checkpoint or an export of a run with another result, or of no known run.
        """
        hashes = {name: sha256(path) for name, path in inputs.items()}
        identity = json.loads(json.dumps({"settings": settings, "input_sha256": hashes}))
        if overwrite and not first_process():
            return identity  # the first may be discarding it right now
        if not self.last.exists() and not self.finished:
            return identity
        stored = self.read()
        if overwrite:
            return identity
        changes = differences(_compared(stored), _compared(identity))
        if changes:
            raise RunError(
                f"{self.path} holds a run with other settings: {'; '.join(changes)}. {_way_on(changes)}"
                "Choose another run=..., or overwrite=true to discard it."
            )
        return identity

    def read(self) -> dict[str, Any]:
        """What config.json says. Raises RunError when it is not there or not whole."""
        try:
            return json.loads(self.description.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise RunError(
                f"{self.path} holds a model but no readable config.json ({error}); "
                "choose another run=..."
            ) from error

    def claimed_before(self) -> bool:
        """Whether this SLURM job began this run before it was requeued: overwrite=true is done then."""
        claim = self._claimed_by()
        job = current_job()
        return job is not None and claim.get("id") == job and claim["restarts"] < restarts()

    def _claimed_by(self) -> dict[str, Any]:
        """The job that began this run and how often it had been requeued, {} outside SLURM."""
        try:
            return self.read().get("job") or {}
        except RunError:
            return {}

    def lengths(self) -> list[int]:
        """The numbers of steps that this run was for, one after the other: it was made longer each time."""
        if not self.description.exists():
            return []
        # Folders of older versions: what the settings say, or how far the run came.
        stored = self.read()
        settings = stored["settings"]
        steps = settings.get("steps") or (settings.get("training") or {}).get("steps")
        return stored.get("lengths") or [steps or self.saved_step() or 0]

    def claim(
        self, identity: Mapping[str, Any], steps: int | None = None, discard: bool = False
    ) -> None:
        """Creates the folder of a run that `check` allowed; `discard`: after removing an earlier run.

        A model of fewer `steps` leaves: the folder is not finished until that of more is there. Call it
        under `lock`, in the first process only.
        """
        known = self.last.exists() or self.finished
        if discard and self.description.exists():
            known = False
            for part in (self.checkpoints, self.kept, self.path / "log", self.export):
                shutil.rmtree(part, ignore_errors=True)  # leaves an export that is a file
            # What Lightning saves on its own under SLURM, in folders of older versions.
            states = self.path.glob("hpc_ckpt_*.ckpt")
            for file in (self.export, self.path / "metrics.csv", self.description, *states):
                file.unlink(missing_ok=True)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        job = {"id": current_job(), "restarts": restarts()}
        claim: dict[str, Any] = {**identity, "job": job if job["id"] else None}
        if self.claimed_before():
            claim["job"] = self._claimed_by()
        if steps is not None:
            before = self.lengths() if known else []
            claim["lengths"] = before if before[-1:] == [steps] else [*before, steps]
            if len(claim["lengths"]) > len(before) > 0:
                shutil.rmtree(self.export, ignore_errors=True)
        write_json(self.description, claim)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held while a run is trained; the operating system takes it back when the process dies.

        Raises RunError when another process holds it.
        """
        _check_writable(self.path)
        holder = self.path / "lock.json"
        who = {"host": socket.gethostname(), "process": os.getpid(), "job": current_job()}
        try:
            with FileLock(self.path / "lock", timeout=0):
                write_json(holder, who)
                try:
                    yield
                finally:
                    holder.unlink(missing_ok=True)
        except Timeout:
            raise RunError(f"{self.path} is being trained{_by(holder)}: nothing was done") from None

    def resume_path(self) -> Path | None:
        """last.ckpt when there is one. Raises RunError when it is not a training checkpoint, or damaged."""
        if self.saved_step() is None:
            return None
        # torch writes a checksum of every part and never looks at it: a flipped bit would be trained on.
        with zipfile.ZipFile(self.last) as parts:
            damaged = parts.testzip()
        if damaged is not None:
            raise RunError(f"{self.last} is damaged ({damaged}); {_ADVICE}")
        return self.last

    def saved_step(self) -> int | None:
        """The step of last.ckpt, None without one. Reads its header: the state can have gigabytes.

        Raises RunError when it is not a training checkpoint.
        """
        if not self.last.exists():
            return None
        try:
            content = torch.load(self.last, map_location="cpu", weights_only=True, mmap=True)
            whole = {"state_dict", "loops", "optimizer_states", "global_step"} <= content.keys()
        except Exception as error:  # unpickling damage raises every kind of exception
            raise RunError(f"{self.last} is not a checkpoint ({error}); {_ADVICE}") from error
        if not whole:
            raise RunError(f"{self.last} is not a training checkpoint; {_ADVICE}")
        return int(content["global_step"])


def _check_writable(folder: Path) -> None:
    """Creates `folder`. Raises RunError where nothing can be written: before a model is built."""
    probe = folder / f"{socket.gethostname()}-{os.getpid()}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written ({error.strerror or error}): choose another run=... or paths.runs=..."
        ) from error


def _compared(description: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an identity, or of config.json, that decides about the result."""
    settings = result_settings(description["settings"])
    return {"settings": settings, "input_sha256": description["input_sha256"]}


def _by(holder: Path) -> str:
    """ " by process 7 on node3 (job 12)", as far as it is known."""
    try:
        who = json.loads(holder.read_text())
    except (OSError, json.JSONDecodeError):
        return " by another process"
    job = f" (job {who['job']})" if who.get("job") else ""
    return f" by process {who.get('process')} on {who.get('host')}{job}"


_ADVICE = "delete it to start this run again, or use overwrite=true"


def _way_on(changes: list[str]) -> str:
    """What lets a run go on whose precision alone is another: `auto` differs between processors."""
    if len(changes) == 1 and (found := re.match(r"(\S*\.)?precision: (\S+) -> ", changes[0])):
        return f"trainer.precision={found[2]} goes on with it. "
    return ""


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
    """Hash of a file, or of all files of a folder with their names; of a token store that of its store.json,
    which has the hashes of the others: they are too large to be read at every start."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if (path / "store.json").is_file():
        path = path / "store.json"
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
