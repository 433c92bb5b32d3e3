"""A model on disk: `model.safetensors` plus `model.json` (layer plan, sizes, provenance)."""

import hashlib
import json
import os
import secrets
import shutil
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.speech_lm import SpeechLM, keep_wide
from mamtra.weights_file import save_tensors

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
FORMAT = "mamtra-speech-lm-1"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class CheckpointError(ValueError):
    """A folder that does not hold a complete, matching model; the text names file and tensor."""


def save_lm(
    folder: str | Path, model: SpeechLM, provenance: dict[str, Any], dtype: str = "fp32"
) -> Path:
    """Write `model` to `folder`, which appears complete or not at all; returns the folder.

    dtype: "fp32", "bf16" or "fp16", the precision of every stored weight. An existing folder's two
    model files are replaced and its other files are kept. provenance must be JSON-serialisable.
    Raises ValueError for an unknown dtype or a weight that is not finite in it.
    """
    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; valid: {', '.join(DTYPES)}")
    folder = Path(folder)
    description = {
        "format": FORMAT,
        "plan": list(model.plan),
        "sizes": asdict(model.sizes),
        "text_vocab": model.text_vocab,
        "speech_vocab": model.speech_vocab,
        "dtype": dtype,
        "parameters": sum(p.numel() for p in model.parameters()),
        "provenance": provenance,
    }
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
        description["sha256"] = _sha256(scratch / WEIGHTS)
        (scratch / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
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
        return _sha256(Path(folder))
    paths = [Path(folder) / name for name in (WEIGHTS, DESCRIPTION)]
    for path in paths:
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file, so this is not a model folder")
    return hashlib.sha256(json.dumps([_sha256(path) for path in paths]).encode()).hexdigest()


def read_description(folder: str | Path) -> dict[str, Any]:
    """The parsed `model.json`. Raises CheckpointError when it is missing or not one of ours."""
    path = Path(folder) / DESCRIPTION
    try:
        description = json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file, so this is not a model folder") from None
    except (
        OSError,
        ValueError,
        RecursionError,
    ) as error:  # no UTF-8, no JSON, a number of 5,000 digits
        raise CheckpointError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a model description of format {FORMAT}")
    wanted = {"plan", "sizes", "text_vocab", "speech_vocab", "sha256", "provenance"}
    missing = sorted(wanted - description.keys())
    if missing:
        raise CheckpointError(f"{path}: missing {', '.join(missing)}")
    return description


def _build(path: Path, description: dict[str, Any]) -> SpeechLM:
    sizes = description["sizes"]
    if not isinstance(sizes, dict):
        raise CheckpointError(f"{path}: sizes must be an object")
    known = {field.name: field.default is MISSING for field in fields(BackboneSizes)}
    unknown = sorted(sizes.keys() - known.keys())
    missing = sorted(name for name, needed in known.items() if needed and name not in sizes)
    if unknown or missing:
        faults = [f"missing {', '.join(missing)}"] if missing else []
        faults += [f"unknown {', '.join(unknown)} (of a newer version?)"] if unknown else []
        raise CheckpointError(f"{path}: sizes: {'; '.join(faults)}")
    try:
        return SpeechLM(
            BackboneSizes(**sizes),
            tuple(description["plan"]),
            description["text_vocab"],
            description["speech_vocab"],
        )
    # A layer of -1 rows, of 0 heads, of 10 to the 30th: what torch says of it depends on where it is.
    except (TypeError, ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
        raise CheckpointError(f"{path}: {error}") from None


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


def load_lm(
    folder: str | Path, device: torch.device | str = "cpu", dtype: str = "fp32"
) -> SpeechLM:
    """The model of `folder` in eval mode on `device`, its weights in `dtype`, whatever they are stored in.

    Sizes that the description does not have, since they came later, are the defaults of `BackboneSizes`.
    What sets the decay of Mamba layers (`keep_wide`) stays in fp32: 8 bits of mantissa would be a per cent
    of a time constant. Raises ValueError for an unknown dtype, CheckpointError naming the file, and the
    tensor where one is missing, extra, of another shape, or not finite.
    """
    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; valid: {', '.join(DTYPES)}")
    folder = Path(folder)
    description = read_description(folder)
    # Without memory: random initialisation would take longer than reading the file.
    with torch.device("meta"):
        model = _build(folder / DESCRIPTION, description)
    path = folder / WEIGHTS
    found, wanted = _read_weights(path), model.state_dict()
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
    if _sha256(path) != description["sha256"]:
        raise CheckpointError(f"{path}: not the weights that {DESCRIPTION} describes (sha256)")
    weights = {
        name: tensor.to(device, torch.float32 if keep_wide(name) else DTYPES[dtype])
        for name, tensor in found.items()
    }
    model.load_state_dict(weights, assign=True)
    return model.eval()
