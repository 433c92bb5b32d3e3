"""A MambaVoiceCloning model on disk: `model.safetensors` plus `model.json` (arm, sizes, text, provenance)."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from mamtra.model_folder import (
    DESCRIPTION,
    CheckpointError,
    read_described,
    read_weights,
    write_folder,
)
from mamtra.mvc.model import MVC, build
from mamtra.mvc.sizes import MVCSizes

FORMAT = "mamtra-mvc-1"


def save_mvc(
    folder: str | Path, model: MVC, provenance: dict[str, Any], dtype: str = "fp32"
) -> Path:
    """Write `model` to `folder`, which appears complete or not at all; returns the folder.

    Raises ValueError for an unknown dtype or a weight that is not finite in it.
    """
    description = {
        "format": FORMAT,
        "arm": model.arm,
        "sizes": asdict(model.sizes),
        "dtype": dtype,
        "parameters": sum(p.numel() for p in model.parameters()),
        "conditioning_parameters": sum(
            p.numel() for part in model.conditioning() for p in part.parameters()
        ),
        "provenance": provenance,
    }
    return write_folder(folder, model, description, dtype)


def read_mvc(folder: str | Path) -> dict[str, Any]:
    """The parsed `model.json`. Raises CheckpointError when it is missing or of another kind of model."""
    return read_described(folder, FORMAT, {"arm", "sizes", "sha256", "provenance"})


def load_mvc(folder: str | Path, device: torch.device | str = "cpu") -> MVC:
    """The model of `folder` in fp32 and eval mode on `device`.

    Raises CheckpointError naming the file, and what in it is missing, extra, of another shape or not finite.
    """
    description = read_mvc(folder)
    path = Path(folder) / DESCRIPTION
    sizes, known = description["sizes"], {field.name for field in fields(MVCSizes)}
    if not isinstance(sizes, dict) or sizes.keys() != known:
        found = sizes.keys() if isinstance(sizes, dict) else set()
        wrong = sorted(found ^ known)
        raise CheckpointError(f"{path}: sizes: missing or unknown {', '.join(wrong)}")
    try:
        # Without memory: random initialisation would take longer than reading the file.
        with torch.device("meta"):
            model = build(MVCSizes(**sizes), description["arm"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    found = read_weights(folder, model.state_dict(), description["sha256"])
    weights = {name: tensor.to(device, torch.float32) for name, tensor in found.items()}
    model.load_state_dict(weights, assign=True)
    return model.eval()
