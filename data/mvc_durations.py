"""Recordings with phoneme times -> the duration of every text token, which MambaVoiceCloning learns.

    python -m data.mvc_durations corpus=<folder> out=<durations.parquet> [split=train] [limit=<recordings>]

One row a recording: utterance, ids (the token of silence, then the phonemes, boundaries and marks of its text),
durations in 10-ms frames, whose sum is the number of its frames, and source ("times"). Of a corpus made by
`python -m data.corpus.open_build`; for one without phoneme times train an aligner: `data.mvc_align`.

Shapes: N text tokens, P timed phonemes, F frames at 100 Hz.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import track

from data.arguments import clear_errors, parse_arguments
from data.corpus.phoneme_times import SAMPLES_PER_FRAME, merge
from data.phone_alignment import match
from data.whole_files import write_table
from mamtra.text.phonemes import BOUNDARY, PhonemeTokenizer

ALIGN = 4 * SAMPLES_PER_FRAME  # recordings are padded to whole 40 ms, as in data.codec_features
COLUMNS = ["utterance", "ids", "durations", "source"]
TIMES = "times"


def token_durations(
    tokens: Sequence[str], symbols: Sequence[str], ends: np.ndarray, n_frames: int
) -> np.ndarray:
    """(N,) int64 frames that each token speaks; they sum to `n_frames`, and a token may get none.

    tokens: `mamtra.text.phonemes` symbols, the first a boundary, which speaks the leading silence; symbols
    (P,), ends (P,): of `data.corpus.phoneme_times.merge`.
    """
    spoken = match(tokens, symbols)
    middles = (np.arange(n_frames) + 0.5) * SAMPLES_PER_FRAME
    at = np.minimum(np.searchsorted(ends, middles, side="right"), len(ends) - 1)
    return np.bincount(spoken[at], minlength=len(tokens))


def with_silence(text: str) -> list[str]:
    """The symbols of a text behind the boundary that speaks its leading silence."""
    return [BOUNDARY, *(s for group in PhonemeTokenizer().spoken(text) for s in group)]


def ids_of(text: str) -> np.ndarray:
    """(N,) int64 ids of the same symbols."""
    return np.asarray([0, *PhonemeTokenizer().encode(text)])


def _row(row: Any) -> dict[str, Any]:
    n_samples = round(row.duration_s * 100 * SAMPLES_PER_FRAME)
    n_frames = -(-n_samples // ALIGN) * ALIGN // SAMPLES_PER_FRAME
    try:
        symbols, ends = merge(row.phonemes, row.ends)
        tokens = with_silence(row.text)
        durations = token_durations(tokens, symbols, ends, n_frames)
    except ValueError as error:
        raise ValueError(f"{row.utterance}: {error}") from error
    return {
        "utterance": row.utterance,
        "ids": ids_of(row.text).astype(np.int16),
        "durations": durations.astype(np.int16),
        "source": TIMES,
    }


def durations(
    corpus: Path, out: Path, split: str | None = None, limit: int | None = None
) -> pd.DataFrame:
    """One row per recording of the manifest, of one split or of all, the first `limit` of each split.

    Raises FileNotFoundError, saying how to make it, for a corpus without manifest or phoneme times;
    ValueError, naming the recording, for phonemes that are not known.
    """
    for name in ("manifest.csv", "phonemes.parquet"):
        if not (corpus / name).is_file():
            raise FileNotFoundError(
                f"{corpus / name} is missing: a corpus with phoneme times is made by "
                f"`python -m data.corpus.open_build out={corpus}`; for one without them train "
                "experiment=mvc_aligner and run `python -m data.mvc_align`"
            )
    table = pd.read_csv(corpus / "manifest.csv")
    table = table if split is None else pd.DataFrame(table[table["split"] == split])
    table = table if limit is None else table.groupby("split").head(limit)
    table = table.merge(pd.read_parquet(corpus / "phonemes.parquet"), on="utterance", how="left")
    without = table["utterance"].to_numpy()[table["ends"].isna().to_numpy()]
    if len(without):
        raise ValueError(
            f"{corpus / 'phonemes.parquet'}: no times of {without[0]} (and {len(without) - 1} more); "
            "build the corpus anew"
        )
    rows = [_row(row) for row in track(table.itertuples(), "durations", len(table))]
    made = pd.DataFrame(rows, columns=COLUMNS)
    write_durations(made, out)
    print(f"{len(made)} rows -> {out}")
    return made


def write_durations(table: pd.DataFrame, out: Path) -> None:
    """The table whole or not at all."""
    write_table(out, table)


if __name__ == "__main__":
    with clear_errors():
        options = parse_arguments(__doc__, required=("corpus", "out"), optional=("split", "limit"))
        durations(
            Path(options["corpus"]),
            Path(options["out"]),
            options.get("split"),
            int(options["limit"]) if "limit" in options else None,
        )
