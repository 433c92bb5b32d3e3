"""Gathers what the repository ships of MambaVoiceCloning, with hashes.

    python -m data.mvc_assets model=<folder> corpus=<folder> durations=<parquet> out=assets/mvc
        [assets=assets/open]

model.json, model.safetensors: a trained model. durations.parquet, voices.npz: the durations of the text tokens
and the speaker embeddings of a part of the corpus, which `data.mvc_frames` makes a small corpus of.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from data.arguments import clear_errors, parse_arguments
from data.codec_features import prepare
from data.mvc_durations import COLUMNS, write_durations
from data.mvc_frames import DURATIONS, VOICES, rows_of
from data.shipping import begin, ship

MAX_BYTES = 12_000_000
SIZES = {"train": 1500, "valid": 100}
EMBEDDINGS = 2  # of each voice
PACKAGES = ("torch", "lightning", "resemblyzer", "piper-tts", "praat-parselmouth")


def gather(model: Path, corpus: Path, durations: Path, out: Path, assets: Path) -> Path:
    """Returns `<out>/manifest.json`.

    Raises ValueError when the whole exceeds MAX_BYTES, or durations are not those of the tokens in `assets`.
    """
    fresh = begin(out)
    for name in ("model.json", "model.safetensors"):
        shutil.copy2(model / name, fresh / name)
    features = prepare(corpus)
    spoken = pd.read_parquet(assets / "tokens.parquet", columns=["utterance"])
    known = pd.read_parquet(durations).merge(spoken, on="utterance")
    # The split is the corpus's: what a model was validated on is a choice of its training.
    shared = features.index[["utterance", "split", "voice"]].merge(known, on="utterance")
    parts = [pd.DataFrame(shared[shared["split"] == split][:n]) for split, n in SIZES.items()]
    chosen = pd.concat(parts)
    voices = {voice: features.voices[voice][:EMBEDDINGS] for voice in sorted(set(chosen["voice"]))}
    np.savez(
        fresh / VOICES, allow_pickle=False, **{v: e.astype(np.float16) for v, e in voices.items()}
    )
    write_durations(pd.DataFrame(chosen[[*COLUMNS, "split"]]), fresh / DURATIONS)
    rows_of(assets, fresh)
    return ship(fresh, out, PACKAGES, MAX_BYTES)


if __name__ == "__main__":
    given = {
        name: Path(path)
        for name, path in parse_arguments(
            __doc__, ("model", "corpus", "durations", "out"), ("assets",)
        ).items()
    }
    with clear_errors():
        gather(**{"assets": Path("assets/open"), **given})
