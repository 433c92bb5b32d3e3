"""A folder in the form of LJSpeech-1.1 for dry runs: recordings of assets/mini at 22.05 kHz.

python -m tools.fake_ljspeech out=<folder>

makes <folder>/LJSpeech-1.1, some of it in each split, and <folder>/meta.lst, two sentences with prompts.
"""

from collections.abc import Iterator
from pathlib import Path

import soundfile as sf
import soxr

from data.arguments import parse_arguments
from data.public_corpora import ljspeech
from mamtra.speech.features import SAMPLE_RATE_HZ

ASSETS = Path("assets/mini")
RATE_HZ = 22_050
VALID = 3  # recordings for validation; the rest is for training
TEST_ITEMS = 2


def names(split: str, root: Path) -> Iterator[str]:
    """Names that data.public_corpora puts into a split, without end."""
    number = 0
    while True:
        number += 1
        name = f"LJ001-{number:04d}"
        (root / "metadata.csv").write_text(f"{name}|x|x\n", encoding="utf-8")
        if next(ljspeech(root)).split == split:
            yield name


def make(out: Path) -> None:
    """Raises FileNotFoundError without assets/mini."""
    root = out / "LJSpeech-1.1"
    (root / "wavs").mkdir(parents=True, exist_ok=True)
    rows = [line.split("|") for line in (ASSETS / "meta.lst").read_text().splitlines()]
    spoken = [(row[3], ASSETS / row[4]) for row in rows if len(row) > 4 and row[4]]
    spoken = [(text, path) for text, path in spoken if path.is_file()]
    drawn = {split: names(split, root) for split in ("valid", "train")}
    lines = []
    for number, (text, path) in enumerate(spoken):
        name = next(drawn["valid" if number < VALID else "train"])
        wave, rate_hz = sf.read(path)
        assert rate_hz == SAMPLE_RATE_HZ
        sf.write(root / "wavs" / f"{name}.wav", soxr.resample(wave, rate_hz, RATE_HZ), RATE_HZ)
        lines.append(f"{name}|{text}|{text}")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    folder = ASSETS.resolve()
    items = [
        "|".join((row[0], row[1], str(folder / row[2]), row[3], str(folder / row[4])))
        for row in rows[:TEST_ITEMS]
    ]
    (out / "meta.lst").write_text("\n".join(items) + "\n", encoding="utf-8")
    print(f"{len(lines)} recordings -> {root}")


if __name__ == "__main__":
    make(Path(parse_arguments(__doc__, required=("out",))["out"]))
