"""LibriTTS on disk -> a list of utterances with texts.

<root>/<subset>/<speaker>/<chapter>/<utterance>.wav and <utterance>.normalized.txt (openslr.org/60).
The text goes to the tokenizer as it stands: CosyVoice 2 normalises nothing for training
(examples/libritts/cosyvoice/local/prepare_data.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Split of the token table that each subset belongs to.
SUBSETS = {
    "train-clean-100": "train",
    "train-clean-360": "train",
    "train-other-500": "train",
    "dev-clean": "valid",
    "dev-other": "valid",
    "test-clean": "test",
    "test-other": "test",
}
SOURCE = "https://www.openslr.org/60"


@dataclass(frozen=True)
class Utterance:
    """One recording. `text` is None when its file is missing or empty; `voice` is the speaker."""

    name: str
    subset: str
    voice: str
    text: str | None
    wav: Path

    @property
    def split(self) -> str:
        return SUBSETS[self.subset]


def scan(root: Path, subsets: Sequence[str]) -> list[Utterance]:
    """Every recording of the subsets, sorted by name within each subset.

    Raises ValueError for a subset that LibriTTS does not have and FileNotFoundError, naming every missing
    folder and where to get it, when one is absent or has no recordings.
    """
    unknown = [name for name in subsets if name not in SUBSETS]
    if unknown or not subsets:
        raise ValueError(
            f"LibriTTS has {', '.join(SUBSETS)}; not {', '.join(unknown) or 'nothing'}"
        )
    found: list[Utterance] = []
    missing = []
    for subset in subsets:
        wavs = sorted((root / subset).glob("*/*/*.wav"))
        if not wavs:
            missing.append(str(root / subset))
        found += [Utterance(w.stem, subset, w.parent.parent.name, _text(w), w) for w in wavs]
    if missing:
        raise FileNotFoundError(
            f"no recordings in {', '.join(missing)}: download and unpack them from {SOURCE}"
        )
    return found


def _text(wav: Path) -> str | None:
    """The first line of the text beside a recording."""
    try:
        lines = wav.with_suffix(".normalized.txt").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    return (lines[0].strip() if lines else "") or None
