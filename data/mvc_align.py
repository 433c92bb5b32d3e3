"""Recordings without phoneme times -> durations of every text token, by a trained alignment teacher.

    python -m data.mvc_align corpus=<folder> aligner=<folder> out=<parquet> [times=<parquet>]

The aligner is what experiment=mvc_aligner exports. With times=, the file of `data.mvc_durations` of the same
corpus, it is scored, each split by itself: how far its borders between tokens, and between words, are from the
true ones; printed, and in <out> with the suffix .json.
Files as of `data.mvc_durations`; the column source is "aligner:<hash>". Recordings with fewer frames than text
tokens have no alignment: they are named and left out. What is done is kept when it stops.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.progress import track

from data.arguments import clear_errors, parse_arguments
from data.codec_batches import frames_of
from data.codec_features import prepare
from data.mvc_batches import untimed
from data.mvc_durations import COLUMNS, write_durations
from data.whole_files import whole
from mamtra.model_folder import model_sha256
from mamtra.mvc.aligner import Aligner, best_path, load_aligner
from mamtra.text.english import MARKS
from mamtra.text.phonemes import BOUNDARY, SYMBOLS

EVERY = 500  # recordings between two writings


@torch.inference_mode()
def aligned(model: Aligner, ids: list[int], mel: torch.Tensor) -> np.ndarray:
    """(N,) durations of the tokens `ids` in mel (F, M), which sum to F."""
    n = torch.tensor([len(ids)]), torch.tensor([len(mel)])
    scores = model(torch.tensor([ids]), n[0], mel[None], n[1])
    return best_path(scores[0].numpy())


def align(corpus: Path, aligner: Path, out: Path) -> pd.DataFrame:
    """One row a recording of the corpus, in its order, without those that `untimed` leaves out.

    Raises ValueError for an aligner of other text tokens or a file of another aligner, and what `load_aligner`
    and `prepare` raise.
    """
    model, features = load_aligner(aligner), prepare(corpus)
    if model.sizes.vocab != len(SYMBOLS):
        raise ValueError(f"{aligner} reads {model.sizes.vocab} text tokens, not {len(SYMBOLS)}")
    source = f"aligner:{model_sha256(aligner)[:12]}"
    before = pd.read_parquet(out) if out.is_file() else pd.DataFrame(columns=COLUMNS)
    if len(before) and set(before["source"]) != {source}:
        raise ValueError(f"{out} holds durations of {before['source'].iloc[0]}: delete it")
    done = before.set_index("utterance").to_dict("index")
    rows: dict[str, dict[str, Any]] = {str(u): {"utterance": u, **row} for u, row in done.items()}
    table = untimed(features.index)
    row: Any
    for row in track(table.itertuples(), "alignment", len(table)):
        if row.utterance in rows:
            continue
        mel = frames_of(features, row.first_frame, row.n_frames)[0]
        found = aligned(model, row.ids.tolist(), mel)
        columns = (row.utterance, row.ids.astype(np.int16), found.astype(np.int16), source)
        rows[row.utterance] = dict(zip(COLUMNS, columns, strict=True))
        if len(rows) % EVERY == 0:
            write_durations(pd.DataFrame(list(rows.values()), columns=COLUMNS), out)
    made = pd.DataFrame([rows[u] for u in table["utterance"]], columns=COLUMNS)
    write_durations(made, out)
    return made


def border_scores(found: pd.DataFrame, times: pd.DataFrame) -> dict[str, float]:
    """Mean distance in ms of the borders between tokens and of those between words, and the share of the
    latter within 50 ms. Raises ValueError for tables of no common recording."""
    pairs = found.merge(times, on="utterance", suffixes=("", "_true"))
    if not len(pairs):
        raise ValueError("the two tables have no recording in common")
    between = {i for i, symbol in enumerate(SYMBOLS) if symbol == BOUNDARY or symbol in MARKS}
    tokens, words = [], []
    row: Any
    for row in pairs.itertuples():
        ids, mine, true = (np.asarray(x) for x in (row.ids, row.durations, row.durations_true))
        distance = 10.0 * np.abs(np.cumsum(mine - true))[:-1]
        apart = np.isin(ids, list(between))
        tokens.append(distance)
        words.append(distance[apart[:-1] != apart[1:]])
    token, word = np.concatenate(tokens), np.concatenate(words)
    return {
        "token_border_ms": float(token.mean()),
        "word_border_ms": float(word.mean()),
        "word_border_within_50_ms": float((word <= 50).mean()),
    }


def scores_by_split(
    found: pd.DataFrame, times: pd.DataFrame, index: pd.DataFrame
) -> dict[str, dict[str, float]]:
    """`border_scores` of the recordings of each split of a corpus's index, and how many there are.

    Raises ValueError for tables of no common recording.
    """
    known = set(times["utterance"]) & set(found["utterance"])
    scores: dict[str, dict[str, float]] = {}
    for split in sorted(set(index["split"])):
        names = known & set(index.loc[index["split"] == split, "utterance"])
        if names:
            own = pd.DataFrame(found[found["utterance"].isin(sorted(names))])
            scores[str(split)] = {"recordings": len(own), **border_scores(own, times)}
    if not scores:
        raise ValueError("the two tables have no recording in common")
    return scores


if __name__ == "__main__":
    with clear_errors():
        options = parse_arguments(__doc__, ("corpus", "aligner", "out"), ("times",))
        made = align(Path(options["corpus"]), Path(options["aligner"]), Path(options["out"]))
        print(f"{len(made)} rows -> {options['out']}")
        if "times" in options:
            index = prepare(Path(options["corpus"])).index
            scores = scores_by_split(made, pd.read_parquet(options["times"]), index)
            for split, values in scores.items():
                print(
                    f"{split}: {', '.join(f'{name} {value:.4g}' for name, value in values.items())}"
                )
            path = Path(options["out"]).with_suffix(".json")
            with whole(path) as partial:
                partial.write_text(json.dumps(scores, indent=1) + "\n")
            print(f"-> {path}")
