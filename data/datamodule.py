"""Lightning data module over the token table: token-budget batches for training, fixed ones for
validation."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data.batching import (
    Draw,
    Members,
    TokenBudgetSampler,
    check_lengths,
    pack_batches,
    pair_utterances,
)
from data.tokens import TextTokenizer, TokenTable, join_tables, read_token_table
from mamtra.lm.sequence import (
    SequenceBatch,
    alignment_targets,
    build_bistream,
    build_sequence,
    collate,
)


class SequenceDataset(Dataset):
    """Maps a `Draw` to its (ids, kinds, targets), its alignment targets (None without alignments), each (T,),
    how many speech tokens come before its last utterance, and its name. A bistream sequence has no alignment
    targets."""

    def __init__(self, table: TokenTable, speech_vocab: int):
        self.table, self.speech_vocab = table, speech_vocab

    def __getitem__(self, draw: Draw):
        members, streams = draw
        text_ids = torch.cat([self.table.text_ids[i] for i in members])
        speech_ids = torch.cat([self.table.speech_ids[i] for i in members])
        name = "+".join(self.table.utterances[i] for i in members)
        n_prompt = len(speech_ids) - self.table.speech_ids.length(members[-1])
        if streams:
            return build_bistream(text_ids, speech_ids, self.speech_vocab), None, n_prompt, name
        sequence = build_sequence(text_ids, speech_ids, self.speech_vocab)
        return sequence, self._aligned(members), n_prompt, name

    def _aligned(self, members: Members) -> Tensor | None:
        if self.table.alignments is None:
            return None
        lengths = [self.table.text_ids.length(i) for i in members]
        starts = [sum(lengths[:n]) for n in range(len(members))]
        rows = zip(members, starts, strict=True)
        joined = torch.cat([self.table.alignments[i] + start for i, start in rows])
        return alignment_targets(sum(lengths), joined)


def collate_named(items: Sequence[tuple]) -> SequenceBatch:
    """Right-padded batch of dataset items."""
    sequences, aligned, n_prompt, names = zip(*items, strict=True)
    given = None if any(a is None for a in aligned) else aligned
    return collate(sequences, names, given, n_prompt)


def collate_uncounted(items: Sequence[tuple]) -> SequenceBatch:
    """As `collate_named`, of no utterances: `LanguageModelModule.log_validation` leaves it out."""
    return replace(collate_named(items), utterances=())


class TokenDataModule(lightning.LightningDataModule):
    """Reads `tokens_path`, a parquet table or a store, once; serves "train" and "valid" as `SequenceBatch`es.

    `train_paths`: the tables whose split "train" is trained on, when it is not that of `tokens_path`;
    validation is the same whatever is trained on.
    A share of `bistream_probability` of the training sequences that can be is laid out as bistream;
    validation never. `max_tokens` bounds the padded positions of a batch (rows x longest sequence).
    The training loader is endless and starts at the trainer's step count, so a resumed run continues
    where it stopped. Validation pairs utterances once, from `seed`, and is the same at every step.
    """

    budget_setting, budget_unit = "batch.max_tokens", 1.0

    def __init__(
        self,
        tokens_path: str | Path,
        tokenizer: TextTokenizer,
        speech_vocab: int,
        max_tokens: int,
        pair_probability: float,
        seed: int,
        num_workers: int = 0,
        single_epochs: int = 0,
        bistream_probability: float = 0.0,
        train_paths: Sequence[str | Path] = (),
    ):
        super().__init__()
        self.speech_vocab, self.max_tokens = speech_vocab, max_tokens
        self.pair_probability, self.seed, self.num_workers = pair_probability, seed, num_workers
        self.single_epochs, self.bistream_probability = single_epochs, bistream_probability
        # Read at once: a bad table has to stop the run before a model is built.
        self.train_table = join_tables(
            [
                read_token_table(path, "train", tokenizer, speech_vocab)
                for path in train_paths or (tokens_path,)
            ]
        )
        self.valid_table = read_token_table(tokens_path, "valid", tokenizer, speech_vocab)
        check_lengths(self.train_table, max_tokens)
        check_lengths(self.valid_table, max_tokens)

    def count_steps(self, epochs: int, world_size: int, accumulate: int) -> int:
        """Optimiser steps of the first `epochs` epochs."""
        sampler = self._sampler(0, world_size, 0, accumulate)
        return sum(len(sampler.plan(epoch).steps) for epoch in range(epochs))

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        if trainer is None:
            return self._loader(self.train_table, self._sampler(0, 1, 0, 1))
        place = (trainer.global_rank, trainer.world_size, trainer.global_step)
        sampler = self._sampler(*place, trainer.accumulate_grad_batches)
        return self._loader(self.train_table, sampler)

    def _sampler(
        self, rank: int, world_size: int, start_step: int, accumulate: int
    ) -> TokenBudgetSampler:
        return TokenBudgetSampler(
            self.train_table,
            self.max_tokens,
            self.pair_probability,
            self.seed,
            rank=rank,
            world_size=world_size,
            start_step=start_step,
            single_epochs=self.single_epochs,
            bistream_probability=self.bistream_probability,
            accumulate=accumulate,
        )

    def val_dataloader(self) -> DataLoader:
        rng = np.random.default_rng(self.seed)
        sequences = pair_utterances(self.valid_table, self.pair_probability, self.max_tokens, rng)
        lengths = sequences.lengths(self.valid_table)
        order, starts = pack_batches(lengths, self.max_tokens, rng)
        rank, world = (
            (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        )
        # Which sequences share a batch, and so the padding, is the same for any number of ranks.
        own = [order[starts[n] : starts[n + 1]] for n in range(rank, len(starts) - 1, world)]
        whole = [[(sequences[int(row)], False) for row in rows] for rows in own]
        if whole:
            return self._loader(self.valid_table, whole)
        # All ranks have to take part in a validation: this one gets a sequence that counts for nothing.
        return self._loader(self.valid_table, [[(sequences[0], False)]], collate_uncounted)

    def calibration_batch(self, rows: int = 8) -> SequenceBatch:
        """The first `rows` sequences of step 0, to measure layers on; draws nothing from the
        loader."""
        sampler = TokenBudgetSampler(
            self.train_table, self.max_tokens, self.pair_probability, self.seed
        )
        dataset = SequenceDataset(self.train_table, self.speech_vocab)
        return collate_named([dataset[members] for members in next(iter(sampler))[:rows]])

    def _loader(self, table: TokenTable, batches, collate_fn=collate_named) -> DataLoader:
        return DataLoader(
            SequenceDataset(table, self.speech_vocab),
            batch_sampler=batches,
            collate_fn=collate_fn,
            num_workers=self.num_workers,
        )
