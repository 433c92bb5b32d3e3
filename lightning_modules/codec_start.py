"""Codecs and vocoders that start from the weights of another one."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from mamtra.speech.codec import CodecNetwork


def read_part(path: Path, prefix: str) -> dict[str, torch.Tensor]:
    """Weights in fp32: of an exported codec those behind `prefix`, of a run's file all.

    Raises FileNotFoundError.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: training.init names weights to start from")
    stored = load_file(path)
    exported = {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
    return {name: tensor.float() for name, tensor in (exported or stored).items()}


PHONE_RECOGNISER = "phone_recogniser.safetensors"
# Their shapes follow from the number of FSQ channels.
OF_THE_CODEBOOK = (
    "tokenizer.to_code.weight",
    "tokenizer.to_code.bias",
    "decoder.inlet.weight",
)


def start_from(codec: CodecNetwork, weights: dict[str, torch.Tensor], source: str) -> list[str]:
    """Loads weights of a codec whose codebook may have another size; names of what stays as it was drawn.

    Raises ValueError, naming `source` and the tensor, when anything else differs.
    """
    wanted = codec.state_dict()
    if wrong := sorted(wanted.keys() ^ weights.keys()):
        raise ValueError(f"training.init={source}: missing or extra tensor {wrong[0]}")
    other = [name for name, tensor in wanted.items() if weights[name].shape != tensor.shape]
    if wrong := [name for name in other if name not in OF_THE_CODEBOOK]:
        raise ValueError(
            f"training.init={source}: {wrong[0]} is {tuple(weights[wrong[0]].shape)}, the run's codec "
            f"has {tuple(wanted[wrong[0]].shape)}: only codec.network.levels may differ"
        )
    # With another number of channels none of the three means what it meant.
    fresh: list[str] = [*OF_THE_CODEBOOK] if other else []
    codec.load_state_dict(
        {name: t for name, t in weights.items() if name not in fresh}, strict=False
    )
    return fresh


def take_phone_recogniser(recogniser: torch.nn.Module, path: Path) -> None:
    """Loads `path` if it is there and fits; a codebook or set of phonemes of another size starts anew."""
    if not path.is_file():
        return
    weights, wanted = load_file(path), recogniser.state_dict()
    if {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in wanted.items()}:
        recogniser.load_state_dict(weights)
        print(f"recogniser of phonemes from {path}")
    else:
        print(f"recogniser of phonemes: new, {path} has other sizes")
