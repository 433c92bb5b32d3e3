"""Corpus recordings -> speech tokens: the parquet table that teachers and students train on.

python -m data.tokenise corpus=<folder> codec=<folder> out=<tokens.parquet>
"""

import os
from pathlib import Path

import pandas as pd
import soundfile as sf
import torch
from rich.progress import track

from data.arguments import parse_arguments
from mamtra.speech import load_codec

COLUMNS = ["utterance", "split", "text", "voice", "tokens"]


def tokenise(corpus: Path, codec_folder: Path, out: Path) -> pd.DataFrame:
    """One row per recording of the manifest, in its order; `tokens` is a list of int16 at 25 Hz.

    Raises FileNotFoundError naming a missing manifest, codec or recording.
    """
    table = pd.read_csv(corpus / "manifest.csv")
    codec = load_codec(codec_folder)
    tokens = []
    for wav in track(table["wav"], description=f"tokenising {len(table)} recordings"):
        wave, _ = sf.read(corpus / wav, dtype="float32")
        tokens.append(codec.encode(torch.from_numpy(wave)).numpy().astype("int16"))
    table["tokens"] = tokens
    partial = out.with_suffix(".partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    table[COLUMNS].to_parquet(partial, index=False, compression="zstd")
    os.replace(partial, out)
    print(f"{len(table)} rows, {sum(map(len, tokens))} tokens -> {out}")
    return table[COLUMNS]


if __name__ == "__main__":
    paths = parse_arguments(__doc__, required=("corpus", "codec", "out"))
    tokenise(Path(paths["corpus"]), Path(paths["codec"]), Path(paths["out"]))
