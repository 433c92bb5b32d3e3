"""A small corpus for MambaVoiceCloning from what ships: the frames that the codec makes of shipped tokens.

    python -m data.mvc_frames out=<folder> [assets=assets/open] [timed=assets/mvc]

No recording and no Piper: mel, pitch and voicing are what the codec's decoder says of the tokens in
<assets>/tokens.parquet, for the recordings whose durations are in <timed>/durations.parquet, in the voices of
<timed>/voices.npz. Resynthesised speech is their ceiling: they prove a path, recordings make a model.

Written: manifest.csv, durations.parquet and features/part-000, as `data.codec_features` does, without samples.
Shapes: T speech tokens, F = 4 T frames at 100 Hz, E speaker embedding.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.progress import track

from data.arguments import clear_errors, parse_arguments
from data.mvc_durations import COLUMNS
from data.whole_files import alone_in, read_table, whole
from mamtra.speech.codec import FRAMES_PER_TOKEN
from mamtra.speech.features import F0_CENTRE_HZ, HOP, MEL_MEAN, MEL_STD, N_MELS, SAMPLE_RATE_HZ
from mamtra.speech.mini_codec import MiniCodec, load_codec

DURATIONS, VOICES = "durations.parquet", "voices.npz"


def read_voices(path: Path) -> dict[str, np.ndarray]:
    """Voice -> (K, E) fp32 speaker embeddings of some of its recordings."""
    with np.load(path) as stored:
        return {name: stored[name].astype(np.float32) for name in stored.files}


@torch.inference_mode()
def decoded(
    codec: MiniCodec, tokens: np.ndarray, voice: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """tokens (T,), voice (E,) -> log-mel (F, 80) as `mamtra.speech.features.log_mel` has it, and (F,) pitch in
    Hz, 0 where unvoiced."""
    codes = codec.network.tokenizer.fsq.from_codes(torch.from_numpy(tokens.astype(np.int64)))[None]
    mask = torch.ones(codes.shape[:2])
    frames = codec.network.decoder(codes, torch.from_numpy(voice)[None], mask)[0].float().numpy()
    mel = frames[:, :N_MELS] * MEL_STD + MEL_MEAN
    hz = np.exp(frames[:, N_MELS]) * F0_CENTRE_HZ
    return mel, np.where(frames[:, N_MELS + 1] > 0, hz, 0.0)


def rows_of(assets: Path, timed: Path) -> pd.DataFrame:
    """utterance, split, text, voice, tokens, ids, durations, source of the recordings that have durations.

    Raises FileNotFoundError for a file that is missing, ValueError for durations of other tokens.
    """
    for path in (assets / "tokens.parquet", timed / DURATIONS, timed / VOICES):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: assets/open and assets/mvc have it")
    names = ["utterance", "text", "voice", "tokens"]
    spoken = read_table(assets / "tokens.parquet", names)
    table = spoken.merge(read_table(timed / DURATIONS), on="utterance", how="inner")
    if not len(table):
        raise ValueError(f"{timed / DURATIONS} has no recording of {assets / 'tokens.parquet'}")
    row: Any
    for row in table.itertuples():
        if (given := int(row.durations.sum())) != (n := len(row.tokens) * FRAMES_PER_TOKEN):
            raise ValueError(
                f"{timed / DURATIONS}: the durations of {row.utterance} sum to {given} frames, its "
                f"tokens are {n}: they are of another corpus"
            )
    return table


def write_frames(assets: Path, timed: Path, out: Path) -> Path:
    """Returns the manifest. What is there already is not made again. Errors as `rows_of`."""
    manifest = out / "manifest.csv"
    if manifest.is_file():
        print(f"{manifest} is there")
        return manifest
    table = rows_of(assets, timed)
    codec, voices = load_codec(assets), read_voices(timed / VOICES)
    counts = table["tokens"].map(len).to_numpy() * FRAMES_PER_TOKEN
    seconds = counts * HOP / SAMPLE_RATE_HZ
    index = table[["utterance", "split", "text", "voice"]].assign(wav="", duration_s=seconds)
    mels, pitches = [], []
    row: Any
    for row in track(table.itertuples(), "frames of tokens", len(table)):
        mel, hz = decoded(codec, row.tokens, voices[row.voice][0])
        mels.append(mel.astype(np.float16))
        pitches.append(hz.astype(np.float32))
    part = out / "features" / "part-000"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    np.save(part / "mel.npy", np.concatenate(mels))
    np.save(part / "f0.npy", np.concatenate(pitches))
    np.save(part / "audio.npy", np.zeros(0, dtype=np.int16))
    np.savez(part / VOICES, allow_pickle=False, **voices)
    places = {"n_frames": counts, "first_frame": counts.cumsum() - counts}
    index.assign(n_samples=0, first_sample=0, **places).to_csv(part / "index.csv", index=False)
    table[COLUMNS].to_parquet(out / DURATIONS, index=False)
    with whole(manifest) as partial:  # last: it marks the whole
        index.to_csv(partial, index=False)
    print(f"{len(index)} recordings, {seconds.sum() / 60:.0f} minutes -> {out}")
    return manifest


def main() -> None:
    given = parse_arguments(__doc__, ("out",), ("assets", "timed"))
    out = Path(given["out"])
    with clear_errors(), alone_in(out):
        folders = (given.get("assets", "assets/open"), given.get("timed", "assets/mvc"))
        write_frames(Path(folders[0]), Path(folders[1]), out)


if __name__ == "__main__":
    main()
