"""Corpus recordings -> speech tokens: the parquet table that teachers and students train on.

python -m data.tokenise corpus=<folder> codec=<folder> recogniser=<file> out=<tokens.parquet>

`codec` is the folder that the vocoder's run exports, `recogniser` the codec run's recogniser.safetensors.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf
import torch
from rich.progress import track
from safetensors.torch import load_file

from data.arguments import parse_arguments
from data.whole_files import write_table
from data.workers import worker_processes
from mamtra.speech import load_codec
from mamtra.speech.recogniser import Recogniser, align
from mamtra.text.characters import CharacterTokenizer

COLUMNS = ["utterance", "split", "text", "voice", "tokens", "alignment"]


class Tokeniser:
    """Codec, recogniser and text tokenizer together; one in each worker process."""

    def __init__(self, codec_folder: Path, recogniser_file: Path) -> None:
        self.codec, self.text_tokenizer = load_codec(codec_folder), CharacterTokenizer()
        self.fsq = self.codec.network.tokenizer.fsq
        self.recogniser = Recogniser(len(self.fsq.levels), self.text_tokenizer.vocab_size)
        self.recogniser.load_state_dict(load_file(recogniser_file))
        self.recogniser.eval()

    @torch.inference_mode()
    def __call__(self, wav: Path, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Speech tokens (T,) at 25 Hz and the index of the character that each speaks (T,), int16.

        Raises ValueError naming a recording whose text cannot be aligned.
        """
        wave, _ = sf.read(wav, dtype="float32")
        ids = self.codec.encode(torch.from_numpy(wave))
        log_probs = self.recogniser(self.fsq.from_codes(ids)[None], torch.ones(1, len(ids)))[0]
        try:
            spoken = align(log_probs, torch.tensor(self.text_tokenizer.encode(text)))
        except ValueError as error:
            raise ValueError(f"{wav}: {error}") from error
        return ids.numpy().astype("int16"), spoken.numpy().astype("int16")


_worker: Tokeniser


def _start_worker(codec_folder: Path, recogniser_file: Path) -> None:
    global _worker
    torch.set_num_threads(1)
    _worker = Tokeniser(codec_folder, recogniser_file)


def _run_worker(wav: Path, text: str) -> tuple[np.ndarray, np.ndarray]:
    return _worker(wav, text)


def tokenise(
    corpus: Path, codec_folder: Path, recogniser_file: Path, out: Path, workers: int = 2
) -> pd.DataFrame:
    """One row per recording of the manifest, in its order, with the columns COLUMNS.

    Raises FileNotFoundError naming a missing manifest, codec or recogniser, and whatever `Tokeniser`
    raises of a recording.
    """
    table = pd.read_csv(corpus / "manifest.csv")
    Tokeniser(codec_folder, recogniser_file)  # a missing file must stop this process, not a worker
    startup = (codec_folder, recogniser_file)
    with worker_processes(workers, _start_worker, *startup) as pool:
        wavs = [corpus / wav for wav in table["wav"]]
        results = pool.map(_run_worker, wavs, table["text"], chunksize=32)
        label = f"tokenising {len(table)} recordings"
        tokens, alignments = zip(*track(results, label, total=len(table)), strict=True)
    table["tokens"], table["alignment"] = tokens, alignments
    write_table(out, pd.DataFrame(table[COLUMNS]))
    print(f"{len(table)} rows, {sum(map(len, tokens))} tokens -> {out}")
    return table.loc[:, COLUMNS]


if __name__ == "__main__":
    names = ("corpus", "codec", "recogniser", "out")
    given = {name: Path(v) for name, v in parse_arguments(__doc__, required=names).items()}
    tokenise(given["corpus"], given["codec"], given["recogniser"], given["out"])
