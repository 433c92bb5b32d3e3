"""Checks of folders of shipped assets, whichever system they are of."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf
import torch

from data.mini_assets import MAX_BYTES
from eval.metrics.text.profiles import PROFILES
from eval.metrics.text.wer import word_errors
from eval.store.files import sha256_file
from eval.testset import Item
from mamtra.speech import load_codec

OPEN = Path(__file__).parents[1] / "assets/open"


def assert_as_in_the_manifest(assets: Path, max_bytes: int = MAX_BYTES) -> None:
    """The files are those of `manifest.json`, no more and no less, byte for byte."""
    files = json.loads((assets / "manifest.json").read_text())["files"]
    present = {str(p.relative_to(assets)) for p in assets.rglob("*") if p.is_file()}
    assert present == files.keys() | {"manifest.json", "CARD.md"}
    for name, facts in files.items():
        assert sha256_file(assets / name) == facts["sha256"], name
    assert sum(facts["bytes"] for facts in files.values()) <= max_bytes


def assert_tokens_of_recordings(assets: Path, items: Iterable[Item]) -> None:
    """The shipped codec makes the shipped tokens of the shipped recordings."""
    codec = load_codec(assets)
    table = pd.read_parquet(assets / "tokens.parquet").set_index("utterance")
    for item in items:
        wave, _ = sf.read(item.recording, dtype="float32")
        found, stored = codec.encode(torch.from_numpy(wave)).numpy(), table.tokens[item.utterance]
        assert len(found) == len(stored)
        # Another machine may round the odd value at a border differently.
        assert np.mean(found == stored) > 0.97


def corpus_wer(pairs: Iterable[tuple[str, str]]) -> float:
    """Of (text, transcript) pairs, as seed-tts-eval normalises them."""
    normalise = PROFILES["seedtts"].normalise
    counts = [word_errors(*(normalise(text, "en") for text in pair)) for pair in pairs]
    return sum(c.errors for c in counts) / sum(c.reference_words for c in counts)
