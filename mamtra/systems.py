"""The two systems behind one set of classes, told apart by what lies in a folder.

mini        codec.safetensors and codec.json (assets/mini): characters or phonemes in, 16 kHz out
cosyvoice2  the public folder CosyVoice2-0.5B: Qwen2 tokens in, 24 kHz out
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from mamtra.speech import load_codec
from mamtra.speech.base import SpeechCodec
from mamtra.speech.cosyvoice2 import FLOW, SPEAKER, VOCODER, load_cosyvoice2
from mamtra.speech.mini_codec import SIZES, read_text_name
from mamtra.speech.s3 import ONNX_FILE, TORCH_FILE
from mamtra.text.characters import CharacterTokenizer
from mamtra.text.phonemes import PhonemeTokenizer
from mamtra.text.qwen import QwenTokenizer


class TextFrontend(Protocol):
    """What speaks to the language model for a text."""

    @property
    def vocab_size(self) -> int:
        """Rows of the model's text embedding."""
        ...

    @property
    def length_ratios(self) -> tuple[float, float]:
        """Fewest and most speech tokens per id: what the decoding allows where it is not told otherwise."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text as it stands. ValueError, saying why, for one that has none."""
        ...

    def pieces(self, text: str) -> list[str]:
        """The text as it is to be read, in parts that are spoken one after the other."""
        ...

    def whole(self, text: str) -> str:
        """The same in one part: how the text of a prompt is read."""
        ...


@dataclass(frozen=True)
class SpeechSystem:
    """How to load what surrounds the language model. `files` are those that the sound depends on."""

    name: str
    files: tuple[str, ...]
    load_codec: Callable[[Path, torch.device | str], SpeechCodec]
    load_text: Callable[[Path], TextFrontend]

    def present(self, folder: Path) -> list[Path]:
        """Those of `files` that are there."""
        return [folder / name for name in self.files if (folder / name).is_file()]


TEXTS: Mapping[str, Callable[[Path], TextFrontend]] = {
    "characters": lambda folder: CharacterTokenizer(),
    "phonemes": lambda folder: PhonemeTokenizer(),
    "qwen": QwenTokenizer,
}


def load_text(name: str, folder: Path) -> TextFrontend:
    """A text frontend by its name in TEXTS; `folder` is that of its system.

    Raises ValueError for an unknown name, and what the frontend raises for a folder that lacks it.
    """
    if name not in TEXTS:
        raise ValueError(f"unknown text frontend {name!r}; valid: {', '.join(TEXTS)}")
    return TEXTS[name](folder)


def sampling_of(text: TextFrontend) -> dict[str, float]:
    """The options of `mamtra.lm.generate` that follow from the text frontend."""
    fewest, most = text.length_ratios
    return {"min_ratio": fewest, "max_ratio": most}


def text_name(name: str | None, folder: Path) -> str:
    """`name`, or where it is None what `codec.json` of the mini system in `folder` names.

    Raises ValueError when nothing names one.
    """
    if name is not None:
        return name
    if not (folder / SIZES).is_file():
        raise ValueError(
            f"text is not set, and {folder} has no {SIZES} that names it: set text to one of "
            f"{', '.join(TEXTS)}, or paths.assets to the folder of the codec"
        )
    return read_text_name(folder)


def mini_text(folder: Path) -> TextFrontend:
    """The frontend that `codec.json` names, that of the language models made for its codec.

    Raises FileNotFoundError without the file and ValueError for a name that is not known.
    """
    return load_text(read_text_name(folder), folder)


MINI = SpeechSystem(
    "mini",
    ("codec.safetensors", "codec.json"),
    load_codec,
    mini_text,
)
COSYVOICE2 = SpeechSystem(
    "cosyvoice2",
    (FLOW, VOCODER, SPEAKER, ONNX_FILE, TORCH_FILE),
    load_cosyvoice2,
    TEXTS["qwen"],
)
SYSTEMS = (MINI, COSYVOICE2)


def system_of(folder: str | Path) -> SpeechSystem:
    """The system whose files `folder` holds. Raises ValueError, naming what was looked for."""
    for system in SYSTEMS:
        if (Path(folder) / system.files[0]).is_file():
            return system
    wanted = " or ".join(f"{system.files[0]} ({system.name})" for system in SYSTEMS)
    raise ValueError(f"no codec in {folder}: {wanted} is missing")
