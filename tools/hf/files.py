"""Names of the files of an exported folder, and what is wrong with one."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

WEIGHTS, CONFIG, GENERATION = "model.safetensors", "config.json", "generation_config.json"
# What the stock architecture has no place for, and what the folder was made of.
OURS, OURS_WEIGHTS = "mamtra.json", "mamtra.safetensors"
GOLDEN, SAMPLER, EMBED, CARD = "golden.safetensors", "sampler.py", "embed.py", "README.md"
FORMAT = "mamtra-granite-1"
IDS, EMBEDS = "ids", "embeds"


class ExportError(ValueError):
    """A folder that is not a whole export of ours, or a model that cannot become one."""


def sha256(path: Path) -> str:
    """Raises ExportError for a file that is not there."""
    if not path.is_file():
        raise ExportError(f"{path}: no such file")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Raises ExportError for a file that is missing or no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExportError(f"{path}: no such file: not a folder of tools.export_hf") from None
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(found, dict):
        raise ExportError(f"{path}: not a JSON object")
    return found


def read_ours(folder: Path) -> dict[str, Any]:
    """`mamtra.json`. Raises ExportError when it is missing, of another format, or not whole."""
    found = read_json(folder / OURS)
    if found.get("format") != FORMAT:
        raise ExportError(f"{folder / OURS}: format {found.get('format')!r}, not {FORMAT}")
    if missing := sorted({"inputs", "text_ids", "weights", "model"} - found.keys()):
        raise ExportError(f"{folder / OURS}: missing {', '.join(missing)}")
    return found


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, in fp32. Raises ExportError."""
    if not path.is_file():
        raise ExportError(
            f"{path}: no such file (weights in several files: save with a larger max_shard_size)"
        )
    try:
        with safe_open(str(path), framework="pt") as stream:
            return {name: stream.get_tensor(name).to(torch.float32) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ExportError(f"{path}: not a safetensors file ({error})") from None
