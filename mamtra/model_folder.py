"""A model on disk, whatever it is: `model.safetensors` beside `model.json` (format, sizes, provenance)."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from mamtra.weights_file import save_tensors

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class CheckpointError(ValueError):
    """A folder that does not hold a complete, matching model; the text names file and tensor."""


def sha256_of(path: Path) -> str:
    """Hash of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_dtype(dtype: str) -> None:
    """Raises ValueError for a precision that weights cannot be stored in."""
    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; valid: {', '.join(DTYPES)}")


def write_folder(
    folder: str | Path, model: nn.Module, description: Mapping[str, Any], dtype: str
) -> Path:
    """Writes `model` to `folder`, which appears complete or not at all; returns the folder.

    The hash of the weights joins `description`. An existing folder's two model files are replaced and its
    other files are kept. Raises ValueError for an unknown dtype or a weight that is not finite in it.
    """
    check_dtype(dtype)
    folder = Path(folder)
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        stored = tensor.detach().to("cpu", DTYPES[dtype]).contiguous().clone()
        if not bool(torch.isfinite(stored).all()):
            raise ValueError(f"tensor {name} is not finite in {dtype}; nothing was written")
        tensors[name] = stored
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.parent / f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}"
    scratch.mkdir()
    try:
        save_tensors(tensors, scratch / WEIGHTS, {"format": "pt"})
        whole = {**description, "sha256": sha256_of(scratch / WEIGHTS)}
        (scratch / DESCRIPTION).write_text(json.dumps(whole, indent=2) + "\n")
        if folder.exists():
            # Between the two renames the files do not belong together: loading sees the hash.
            os.replace(scratch / WEIGHTS, folder / WEIGHTS)
            os.replace(scratch / DESCRIPTION, folder / DESCRIPTION)
        else:
            os.replace(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def model_sha256(folder: str | Path) -> str:
    """Identity of a model: a hash of the hashes of its folder's two files, or the hash of one file of
    weights that is not ours.

    Raises CheckpointError when one is missing.
    """
    if Path(folder).is_file():
        return sha256_of(Path(folder))
    paths = [Path(folder) / name for name in (WEIGHTS, DESCRIPTION)]
    for path in paths:
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file, so this is not a model folder")
    return hashlib.sha256(json.dumps([sha256_of(path) for path in paths]).encode()).hexdigest()


def read_json_object(path: Path) -> dict[str, Any]:
    """The parsed `model.json`, of any format. Raises CheckpointError when it is missing or no JSON object."""
    try:
        description = json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file, so this is not a model folder") from None
    # No UTF-8, no JSON, a number of 5,000 digits, lists in lists in lists.
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({error})") from None
    return description if isinstance(description, dict) else {}


def format_of(folder: str | Path) -> str | None:
    """What kind of model a folder says that it holds; None where it says nothing that can be read."""
    try:
        return read_json_object(Path(folder) / DESCRIPTION).get("format")
    except CheckpointError:
        return None


def read_described(folder: str | Path, form: str, wanted: set[str]) -> dict[str, Any]:
    """The parsed `model.json`. Raises CheckpointError when it is missing, of another format than `form`, or
    without one of the `wanted` keys."""
    path = Path(folder) / DESCRIPTION
    description = read_json_object(path)
    if description.get("format") != form:
        raise CheckpointError(f"{path}: not a model description of format {form}")
    missing = sorted(wanted - description.keys())
    if missing:
        raise CheckpointError(f"{path}: missing {', '.join(missing)}")
    return description


def refuse_pointer(path: Path) -> None:
    """Raises CheckpointError when a file of weights is what git-lfs leaves in their place."""
    with path.open("rb") as stream:
        head = stream.read(64)
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path}: a git-lfs pointer, not the weights; fetch them with `git lfs pull`"
        )


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    refuse_pointer(path)
    try:
        with safe_open(str(path), framework="pt") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a safetensors checkpoint ({error})") from None


def read_weights(
    folder: str | Path, wanted: Mapping[str, torch.Tensor], sha256: str
) -> dict[str, torch.Tensor]:
    """The tensors of a model whose state is `wanted` (shapes count, values do not).

    Raises CheckpointError naming the file, and the tensor where one is missing, extra, of another shape, or
    not finite; and when the file's hash is not `sha256`.
    """
    path = Path(folder) / WEIGHTS
    found = _read_weights(path)
    problems = [f"missing tensor {name}" for name in wanted if name not in found]
    problems += [f"unexpected tensor {name}" for name in found if name not in wanted]
    for name in wanted.keys() & found.keys():
        if wanted[name].shape != found[name].shape:
            problems.append(
                f"tensor {name} has shape {tuple(found[name].shape)}, "
                f"the model needs {tuple(wanted[name].shape)}"
            )
        elif not bool(torch.isfinite(found[name]).all()):
            problems.append(f"tensor {name} holds values that are not finite")
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise CheckpointError(f"{path}: {'; '.join(sorted(problems)[:3])}{more}")
    if sha256_of(path) != sha256:
        raise CheckpointError(f"{path}: not the weights that {DESCRIPTION} describes (sha256)")
    return found
