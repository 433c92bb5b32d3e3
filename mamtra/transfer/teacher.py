"""A teacher by its path: a model folder of ours, or CosyVoice 2's `llm.pt`."""

from pathlib import Path

from mamtra.lm.checkpoint import load_lm, read_description
from mamtra.lm.speech_lm import SpeechLM
from mamtra.transfer.cosyvoice2 import SIZES, read_llm_pt


def is_upstream(path: Path) -> bool:
    """Whether `path` is a file in upstream's form and not a model folder."""
    return path.suffix == ".pt"


def load_teacher(path: Path) -> SpeechLM:
    """The model, in fp32 and eval mode. Errors as `read_llm_pt` and `load_lm`."""
    return read_llm_pt(path) if is_upstream(path) else load_lm(path)


def count_layers(path: Path) -> int:
    """Number of its layers, without reading its weights. Errors as `read_description`."""
    return SIZES.n_layers if is_upstream(path) else read_description(path)["sizes"]["n_layers"]
