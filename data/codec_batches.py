"""Batches of whole recordings for the codec, and of short crops for the vocoder.

Shapes: B batch, F frames at 100 Hz (a multiple of 4), M mel bands, n = F * HOP samples, E voice embedding.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import lightning
import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, IterableDataset

from data.codec_features import CodecCorpus, prepare
from data.corpus.phoneme_times import IGNORE
from mamtra.speech.batch import CodecBatch
from mamtra.speech.features import F0_CENTRE_HZ, HOP, SAMPLE_RATE_HZ, normalise
from mamtra.text.characters import CharacterTokenizer

FRAMES_PER_S = SAMPLE_RATE_HZ // HOP


def frames_of(corpus: CodecCorpus, first: int, count: int) -> tuple[torch.Tensor, ...]:
    """Mels (F, M), log f0, voicing and phonemes, each (F,), of `count` frames from `first` on."""
    mel = torch.from_numpy(np.asarray(corpus.mel[first : first + count], dtype=np.float32))
    f0 = torch.from_numpy(np.asarray(corpus.f0[first : first + count]).copy())
    voiced = (f0 > 0).float()
    if corpus.phones is None:
        phones = torch.full((count,), IGNORE)
    else:
        phones = torch.from_numpy(corpus.phones[first : first + count].astype(np.int64))
    return normalise(mel), torch.from_numpy(bridged_log_f0(f0.numpy())), voiced, phones


def bridged_log_f0(f0: np.ndarray) -> np.ndarray:
    """(F,) Hz to log(f0 / centre), interpolated over unvoiced frames; 0 when all are."""
    voiced = np.flatnonzero(f0)
    if not len(voiced):
        return np.zeros_like(f0)
    log_f0 = np.log(f0[voiced] / F0_CENTRE_HZ)
    return np.interp(np.arange(len(f0)), voiced, log_f0).astype(np.float32)


class RecordingBatches(IterableDataset[CodecBatch]):
    """Endless batches of whole recordings of like length, about `batch_s` seconds of audio each.

    The voice embedding of a row is that of another recording of the voice, as at inference, where it is
    the prompt's. All draws follow from (seed, epoch); `start_step` skips what a resumed run has seen.
    """

    def __init__(
        self, corpus: CodecCorpus, split: str, batch_s: float, seed: int = 0, start_step: int = 0
    ) -> None:
        self.corpus = corpus
        self.rows = corpus.rows(split)
        self.batch_frames = int(batch_s * FRAMES_PER_S)
        self.seed, self.start_step = seed, start_step
        self.tokenizer = CharacterTokenizer()

    def epoch(self, number: int) -> list[tuple[list[int], np.ndarray]]:
        """Batches of one pass: row numbers and, for each, the draw of its voice embedding."""
        rng = np.random.default_rng((self.seed, number))
        lengths = self.rows["n_frames"].to_numpy()
        order = np.argsort(lengths * rng.uniform(0.95, 1.05, len(lengths)))
        batches: list[list[int]] = [[]]
        longest = 0
        for row in order:
            longest = max(longest, int(lengths[row]))
            if batches[-1] and longest * (len(batches[-1]) + 1) > self.batch_frames:
                batches.append([])
                longest = int(lengths[row])
            batches[-1].append(int(row))
        draws = rng.integers(0, 1 << 30, len(self.rows))
        return [(batches[i], draws[batches[i]]) for i in rng.permutation(len(batches))]

    def __iter__(self):
        skip = self.start_step
        for number in itertools.count():
            batches = self.epoch(number)
            for rows, draws in batches[skip:]:
                yield self.batch(rows, draws)
            skip = max(0, skip - len(batches))

    def batch(self, numbers: list[int], draws: np.ndarray) -> CodecBatch:
        """Collates the recordings of rows `numbers`; shapes as in CodecBatch."""
        rows = self.rows.iloc[numbers]
        parts = [frames_of(self.corpus, r.first_frame, r.n_frames) for r in rows.itertuples()]
        mel, log_f0, voiced, phones = (
            pad_sequence(list(p), batch_first=True, padding_value=fill)
            for p, fill in zip(zip(*parts, strict=True), (0, 0, 0, IGNORE), strict=True)
        )
        lengths = torch.tensor(rows["n_frames"].to_numpy())
        texts = [torch.tensor(self.tokenizer.encode(text)) for text in rows["text"]]
        voices = []
        for voice, draw in zip(rows["voice"], draws, strict=True):
            known = self.corpus.voices[voice]
            voices.append(torch.from_numpy(known[draw % len(known)]))
        return CodecBatch(
            mel=mel,
            log_f0=log_f0,
            voiced=voiced,
            mask=(torch.arange(mel.shape[1]) < lengths[:, None]).float(),
            voice=torch.stack(voices),
            text=pad_sequence(texts, batch_first=True),
            text_lengths=torch.tensor([len(t) for t in texts]),
            phones=phones,
            utterances=tuple(rows["utterance"]),
        )


class CropBatches(IterableDataset[CodecBatch]):
    """Endless batches of `rows` random crops of `frames` frames with their waveforms."""

    def __init__(
        self,
        corpus: CodecCorpus,
        split: str,
        rows: int,
        frames: int,
        seed: int = 0,
        start_step: int = 0,
    ) -> None:
        self.corpus = corpus
        table = corpus.rows(split)
        self.table = table[table["n_frames"] >= frames].reset_index(drop=True)
        if not len(self.table):
            raise ValueError(
                f"no recording in split {split!r} has batch.frames={frames} frames; the longest of "
                f"{len(table)} has {table['n_frames'].max() if len(table) else 0}"
            )
        self.rows, self.frames = rows, frames
        self.seed, self.start_step = seed, start_step

    def __iter__(self):
        return (self.batch(step) for step in itertools.count(self.start_step))

    def batch(self, step: int) -> CodecBatch:
        """The batch of `step`, from (seed, step) alone."""
        rng = np.random.default_rng((self.seed, step))
        parts, waves, voices = [], [], []
        rows = self.table.iloc[rng.integers(0, len(self.table), self.rows)]
        for row in rows.itertuples():
            # Crops start on token borders, so that a codec can code them as they are.
            start = 4 * int(rng.integers(0, (row.n_frames - self.frames) // 4 + 1))
            parts.append(frames_of(self.corpus, row.first_frame + start, self.frames))
            first = row.first_sample + start * HOP
            audio = np.asarray(self.corpus.audio[first : first + self.frames * HOP])
            waves.append(torch.from_numpy(audio.astype(np.float32) / 32767))
            known = self.corpus.voices[row.voice]
            voices.append(torch.from_numpy(known[rng.integers(len(known))]))
        mel, log_f0, voiced, _ = (torch.stack(p) for p in zip(*parts, strict=True))
        return CodecBatch(
            mel=mel,
            log_f0=log_f0,
            voiced=voiced,
            mask=torch.ones(mel.shape[:2]),
            voice=torch.stack(voices),
            text=torch.zeros(self.rows, 1, dtype=torch.long),
            text_lengths=torch.zeros(self.rows, dtype=torch.long),
            wave=torch.stack(waves),
            utterances=tuple(rows["utterance"]),
        )


class SpeechDataModule(lightning.LightningDataModule):
    """An endless training stream that continues at the trainer's step, and fixed batches to validate on."""

    def __init__(self, train: RecordingBatches | CropBatches, valid: Sequence[CodecBatch]) -> None:
        super().__init__()
        self.train, self.valid = train, list(valid)
        if isinstance(train, CropBatches):
            self.budget_setting, self.budget_unit = "batch.rows", 1 / train.frames
        else:
            self.budget_setting, self.budget_unit = "batch.batch_s", 1 / FRAMES_PER_S

    def count_steps(self, epochs: int, world_size: int, accumulate: int) -> int:
        """Raises ValueError: crops have no epochs."""
        raise ValueError("codec and vocoder are trained for steps=, not for epochs=")

    def train_dataloader(self) -> DataLoader:
        if self.trainer is not None:
            self.train.start_step = self.trainer.global_step
        return DataLoader(self.train, batch_size=None)

    def val_dataloader(self) -> DataLoader:
        # A list is a dataset with indices, whatever its type says.
        return DataLoader(self.valid, batch_size=None)  # type: ignore[arg-type]


def codec_batches(corpus: Path, batch_s: float, seed: int, n_valid: int = 6) -> SpeechDataModule:
    """Whole recordings of the corpus in a folder."""
    features = prepare(corpus)
    valid = RecordingBatches(features, "valid", batch_s, seed)
    fixed = [valid.batch(rows, draws) for rows, draws in valid.epoch(0)[:n_valid]]
    return SpeechDataModule(RecordingBatches(features, "train", batch_s, seed), fixed)


def vocoder_batches(
    corpus: Path, rows: int, frames: int, seed: int, n_valid: int = 6
) -> SpeechDataModule:
    """Crops of the corpus in a folder."""
    features = prepare(corpus)
    valid = CropBatches(features, "valid", rows, frames, seed)
    fixed = [valid.batch(step) for step in range(n_valid)]
    return SpeechDataModule(CropBatches(features, "train", rows, frames, seed), fixed)
