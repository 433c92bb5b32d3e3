"""A language model on disk: `model.safetensors` plus `model.json` (layer plan, sizes, provenance)."""

from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import torch

from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.speech_lm import SpeechLM, keep_wide
from mamtra.model_folder import (
    DESCRIPTION,
    DTYPES,
    WEIGHTS,
    CheckpointError,
    check_dtype,
    model_sha256,
    read_described,
    read_weights,
    refuse_pointer,
    write_folder,
)

FORMAT = "mamtra-speech-lm-1"
__all__ = [
    "DESCRIPTION",
    "DTYPES",
    "WEIGHTS",
    "CheckpointError",
    "load_lm",
    "model_sha256",
    "read_description",
    "refuse_pointer",
    "save_lm",
]


def save_lm(
    folder: str | Path, model: SpeechLM, provenance: dict[str, Any], dtype: str = "fp32"
) -> Path:
    """Write `model` to `folder`, which appears complete or not at all; returns the folder.

    dtype: "fp32", "bf16" or "fp16", the precision of every stored weight. An existing folder's two
    model files are replaced and its other files are kept. provenance must be JSON-serialisable.
    Raises ValueError for an unknown dtype or a weight that is not finite in it.
    """
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
    return write_folder(folder, model, description, dtype)


def read_description(folder: str | Path) -> dict[str, Any]:
    """The parsed `model.json`. Raises CheckpointError when it is missing or not one of ours."""
    wanted = {"plan", "sizes", "text_vocab", "speech_vocab", "sha256", "provenance"}
    return read_described(folder, FORMAT, wanted)


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


def load_lm(
    folder: str | Path, device: torch.device | str = "cpu", dtype: str = "fp32"
) -> SpeechLM:
    """The model of `folder` in eval mode on `device`, its weights in `dtype`, whatever they are stored in.

    Sizes that the description does not have, since they came later, are the defaults of `BackboneSizes`.
    What sets the decay of Mamba layers (`keep_wide`) stays in fp32: 8 bits of mantissa would be a per cent
    of a time constant. Raises ValueError for an unknown dtype, CheckpointError naming the file, and the
    tensor where one is missing, extra, of another shape, or not finite.
    """
    check_dtype(dtype)
    folder = Path(folder)
    description = read_description(folder)
    # Without memory: random initialisation would take longer than reading the file.
    with torch.device("meta"):
        model = _build(folder / DESCRIPTION, description)
    found = read_weights(folder, model.state_dict(), description["sha256"])
    weights = {
        name: tensor.to(device, torch.float32 if keep_wide(name) else DTYPES[dtype])
        for name, tensor in found.items()
    }
    model.load_state_dict(weights, assign=True)
    return model.eval()
