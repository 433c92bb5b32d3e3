"""Corpus recordings -> speech tokens: the parquet table that teachers and students train on.

python -m data.tokenise corpus=<folder> codec=<folder> recogniser=<file> out=<tokens.parquet>

`codec` is the folder that the vocoder's run exports, `recogniser` the codec run's recogniser.safetensors.
"""

import os
from pathlib import Path

import pandas as pd
import soundfile as sf
import torch
from rich.progress import track
from safetensors.torch import load_file

from data.arguments import parse_arguments
from mamtra.speech import load_codec
from mamtra.speech.recogniser import Recogniser, align
from mamtra.text.characters import CharacterTokenizer

COLUMNS = ["utterance", "split", "text", "voice", "tokens", "alignment"]


@torch.inference_mode()
def tokenise(corpus: Path, codec_folder: Path, recogniser_file: Path, out: Path) -> pd.DataFrame:
    """One row per recording of the manifest, in its order.

    `tokens` is a list of int16 at 25 Hz; `alignment` says for each token which character of the text it
    speaks. Raises FileNotFoundError naming a missing manifest, codec, recogniser or recording, and
    ValueError naming a recording whose text cannot be aligned.
    """
    table = pd.read_csv(corpus / "manifest.csv")
    codec, text_tokenizer = load_codec(codec_folder), CharacterTokenizer()
    fsq = codec.network.tokenizer.fsq
    recogniser = Recogniser(len(fsq.levels), text_tokenizer.vocab_size)
    recogniser.load_state_dict(load_file(recogniser_file))
    recogniser.eval()
    tokens, alignments = [], []
    rows = zip(table["wav"], table["text"], strict=True)
    for wav, text in track(rows, description=f"tokenising {len(table)}", total=len(table)):
        wave, _ = sf.read(corpus / wav, dtype="float32")
        ids = codec.encode(torch.from_numpy(wave))
        log_probs = recogniser(fsq.from_codes(ids)[None], torch.ones(1, len(ids)))[0]
        try:
            alignment = align(log_probs, torch.tensor(text_tokenizer.encode(text)))
        except ValueError as error:
            raise ValueError(f"{corpus / wav}: {error}") from error
        tokens.append(ids.numpy().astype("int16"))
        alignments.append(alignment.numpy().astype("int16"))
    table["tokens"], table["alignment"] = tokens, alignments
    partial = out.with_suffix(".partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    table[COLUMNS].to_parquet(partial, index=False, compression="zstd")
    os.replace(partial, out)
    print(f"{len(table)} rows, {sum(map(len, tokens))} tokens -> {out}")
    return table[COLUMNS]


if __name__ == "__main__":
    names = ("corpus", "codec", "recogniser", "out")
    tokenise(*(Path(parse_arguments(__doc__, required=names)[name]) for name in names))
