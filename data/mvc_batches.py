"""Batches of recordings with token durations for MambaVoiceCloning.

Shapes: B batch, N text tokens, 2F frames at 100 Hz, M mel bands, E speaker embedding, R reference frames.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, IterableDataset

from data.codec_batches import frames_of
from data.codec_features import CodecCorpus, prepare
from data.mvc_durations import COLUMNS, ids_of
from mamtra.mvc.batch import MVCBatch
from mamtra.mvc.voice import Voices

FRAMES_PER_S = 100
REFERENCE_FRAMES = 300  # three seconds of another recording, for models that read the prompt's mel
MAX_JOINED = 4  # sentences of one voice, said one after the other
VOICES_READ = 256  # draws of a row's voice; more than any voice has embeddings


class MVCRecordings:
    """The recordings of one split of a corpus, by number; each with the durations of its text tokens.

    Raises FileNotFoundError or ValueError, saying how to rebuild it, for a durations file that is missing,
    of another form, or does not fit the recordings.
    """

    def __init__(self, corpus: CodecCorpus, durations: Path | None, split: str) -> None:
        rows = corpus.rows(split)
        table = untimed(rows) if durations is None else timed(rows, durations)
        if not len(table):
            raise ValueError(f"{durations or 'the corpus'} has no recording of split {split!r}")
        self.corpus, self.table = corpus, table
        self.lengths = table["n_frames"].to_numpy()
        voices = table.groupby("voice").indices
        self.of_voice: dict[str, np.ndarray] = {str(v): rows for v, rows in voices.items()}

    def __len__(self) -> int:
        return len(self.table)

    def mates(self, number: int) -> np.ndarray:
        """Numbers of all recordings of the voice of one."""
        return self.of_voice[str(self.table["voice"].iloc[number])]

    def batch(self, members: Sequence[Sequence[int]], draws: Sequence[int], mel: bool) -> MVCBatch:
        """Rows, each of one or more recordings of one voice; `draws` choose the recording their voice is
        taken from; `mel`: with its mel."""
        parts = [self._row(row) for row in members]
        columns = [list(part) for part in zip(*parts, strict=True)]
        ids, durations, mels, log_f0, voiced = (pad_sequence(c, batch_first=True) for c in columns)
        first = [row[0] for row in members]
        pairs = list(zip(first, draws, strict=True))
        voices = Voices(torch.stack([self._embedding(row, draw) for row, draw in pairs]))
        if mel:
            heard = [self._reference(row, draw) for row, draw in pairs]
            counts = torch.tensor([len(h) for h in heard])
            voices = Voices(voices.embedding, pad_sequence(heard, batch_first=True), counts)
        names = ("+".join(self.table["utterance"].iloc[list(row)]) for row in members)
        return MVCBatch(
            ids=ids,
            n_ids=torch.tensor([len(row) for row in columns[0]]),
            durations=durations,
            mel=mels,
            log_f0=log_f0,
            voiced=voiced,
            n_frames=torch.tensor([len(row) for row in columns[2]]),
            voices=voices,
            utterances=tuple(names),
        )

    def _row(self, members: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """ids, durations (N,), mel (2F, M), log f0, voicing (2F,) of recordings one after the other."""
        found = []
        for number in members:
            row: Any = self.table.iloc[number]
            frames = frames_of(self.corpus, row["first_frame"], row["n_frames"])[:3]
            texts = (torch.from_numpy(row[k].astype(np.int64)) for k in ("ids", "durations"))
            found.append((*texts, *frames))
        return tuple(torch.cat(part) for part in zip(*found, strict=True))

    def _embedding(self, number: int, draw: int) -> torch.Tensor:
        known = self.corpus.voices[str(self.table["voice"].iloc[number])]
        return torch.from_numpy(known[draw % len(known)])

    def _reference(self, number: int, draw: int) -> torch.Tensor:
        """(R, M) of another recording of the voice, where it has one; R is even."""
        others = self.mates(number)
        others = others[others != number] if len(others) > 1 else others
        # A draw is below VOICES_READ, a voice may have more recordings: the row's number reaches them.
        row: Any = self.table.iloc[int(others[(number * VOICES_READ + draw) % len(others)])]
        count = min(int(row["n_frames"]), REFERENCE_FRAMES)
        return frames_of(self.corpus, row["first_frame"], count)[0]


def untimed(rows: pd.DataFrame) -> pd.DataFrame:
    """Recordings with the tokens of their texts, whose durations nobody knows: all 0. Those with fewer frames
    than tokens, which have no alignment, are named and left out."""
    texts = [ids_of(text) for text in rows["text"]]
    table = rows.assign(ids=texts, durations=[np.zeros_like(t) for t in texts])
    counts = table["n_frames"].to_numpy()
    short = np.flatnonzero(counts < np.array([len(ids) for ids in texts], dtype=int))
    if len(short):
        first = table["utterance"].iloc[short[0]]
        print(
            f"left out: {len(short)} of {len(table)} recordings with fewer frames than text tokens, the first "
            f"{first} ({counts[short[0]]} frames, {len(texts[short[0]])} tokens)"
        )
    return table.drop(index=table.index[short]).reset_index(drop=True)


def timed(rows: pd.DataFrame, durations: Path) -> pd.DataFrame:
    """Those recordings that a file of `data.mvc_durations` or `data.mvc_align` has, with its columns."""
    if not durations.is_file():
        raise FileNotFoundError(
            f"{durations} (paths.durations) does not exist: make it with "
            f"`python -m data.mvc_durations corpus=<folder> out={durations}`"
        )
    found = pd.read_parquet(durations)
    if missing := sorted(set(COLUMNS) - set(found.columns)):
        raise ValueError(f"{durations}: no column {missing[0]}; make it with data.mvc_durations")
    table = rows.merge(found, on="utterance", how="inner")
    given = np.array([int(np.sum(row)) for row in table["durations"]])
    if (wrong := np.flatnonzero(given != table["n_frames"])).size:
        row: Any = table.iloc[int(wrong[0])]
        raise ValueError(
            f"{durations}: the durations of {row['utterance']} sum to {given[wrong[0]]} frames, the "
            f"recording has {row['n_frames']}: they are of another corpus or aligner"
        )
    for row in table.itertuples():
        if len(row.ids) != len(row.durations) or not np.array_equal(row.ids, ids_of(row.text)):
            raise ValueError(
                f"{durations}: the {len(row.ids)} tokens with {len(row.durations)} durations of "
                f"{row.utterance} are not those of its text: they are of another corpus, aligner or dictionary"
            )
    return table


class MVCBatches(IterableDataset[MVCBatch]):
    """Endless batches of about `batch_s` seconds; a share `joined` of the rows is two to MAX_JOINED
    recordings of one voice. All draws follow from (seed, epoch); `start` batches are skipped, and of the rest
    every `world`-th from `rank` on is this process's."""

    def __init__(
        self,
        recordings: MVCRecordings,
        batch_s: float,
        joined: float,
        seed: int,
        mel: bool = False,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if not 0 <= joined <= 1:
            raise ValueError(f"batch.joined={joined} is a share, between 0 and 1")
        self.recordings, self.joined, self.seed, self.mel = recordings, joined, seed, mel
        self.most_frames = int(batch_s * FRAMES_PER_S)
        if (longest := int(recordings.lengths.max())) > self.most_frames:
            raise ValueError(
                f"batch.batch_s={batch_s}: the longest recording has {longest / FRAMES_PER_S:.1f} s"
            )
        self.start, self.rank, self.world = start, rank, world

    def epoch(self, number: int) -> list[tuple[list[list[int]], list[int]]]:
        """Batches of one pass: the members of each row, and the draws of their voices."""
        rng = np.random.default_rng((self.seed, number))
        rows = self._rows(rng)
        lengths = np.array([int(self.recordings.lengths[row].sum()) for row in rows])
        order = np.argsort(lengths * rng.uniform(0.95, 1.05, len(rows)), kind="stable")
        batches: list[list[int]] = [[]]
        longest = 0
        for row in order:
            longest = max(longest, int(lengths[row]))
            if batches[-1] and longest * (len(batches[-1]) + 1) > self.most_frames:
                batches.append([])
                longest = int(lengths[row])
            batches[-1].append(int(row))
        draws = rng.integers(0, VOICES_READ, len(rows))
        return [
            ([rows[i] for i in batches[b]], draws[batches[b]].tolist())
            for b in rng.permutation(len(batches))
        ]

    def _rows(self, rng: np.random.Generator) -> list[list[int]]:
        """Every recording once, some of them behind others of their voice."""
        left = set(range(len(self.recordings)))
        rows = []
        for number in rng.permutation(len(self.recordings)).tolist():
            if number not in left:
                continue
            left.remove(number)
            row = [number]
            if rng.random() < self.joined:
                mates = rng.permutation(self.recordings.mates(number)).tolist()
                for mate in [m for m in mates if m in left][: int(rng.integers(1, MAX_JOINED))]:
                    if self.recordings.lengths[[*row, mate]].sum() <= self.most_frames:
                        left.remove(mate)
                        row.append(mate)
            rows.append(row)
        return rows

    def __iter__(self) -> Iterator[MVCBatch]:
        count, number = 0, 0
        while True:
            for members, draws in self.epoch(number):
                if count >= self.start and (count - self.start) % self.world == self.rank:
                    yield self.recordings.batch(members, draws, self.mel)
                count += 1
            number += 1


class MVCDataModule(lightning.LightningDataModule):
    """Splits "train" and "valid" of `<corpus>` with the durations of one file. `mel`: voices come with the mel
    of a reference, for models that read it. Validation is the same at every step and has no joined rows."""

    budget_setting, budget_unit = "batch.batch_s", 1 / FRAMES_PER_S

    def __init__(
        self,
        corpus: Path,
        durations: Path | None,
        batch_s: float,
        joined: float,
        seed: int,
        mel: bool,
    ) -> None:
        super().__init__()
        features = prepare(corpus)
        self.train = MVCRecordings(features, durations, "train")
        self.valid = MVCRecordings(features, durations, "valid")
        self.batch_s, self.joined, self.seed, self.mel = batch_s, joined, seed, mel

    def _batches(self, start: int = 0, rank: int = 0, world: int = 1) -> MVCBatches:
        place = (start, rank, world)
        return MVCBatches(self.train, self.batch_s, self.joined, self.seed, self.mel, *place)

    def count_steps(self, epochs: int, world_size: int, accumulate: int) -> int:
        """Optimiser steps of the first `epochs` epochs."""
        batches = self._batches()
        whole = sum(len(batches.epoch(number)) for number in range(epochs))
        return whole // (world_size * accumulate)

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        if trainer is None:
            return DataLoader(self._batches(), batch_size=None)
        seen = trainer.global_step * trainer.accumulate_grad_batches * trainer.world_size
        batches = self._batches(seen, trainer.global_rank, trainer.world_size)
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader:
        """Of several ranks each sees all of it: the mean is the same, and no rank waits."""
        batches = MVCBatches(self.valid, self.batch_s, 0.0, self.seed, self.mel)
        made = [self.valid.batch(members, draws, self.mel) for members, draws in batches.epoch(0)]
        # A list is a dataset with indices, whatever its type says.
        return DataLoader(made, batch_size=None)  # type: ignore[arg-type]
