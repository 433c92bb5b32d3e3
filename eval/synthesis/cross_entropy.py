"""Teacher-forced cross-entropy on the held-out tokens, with the right texts and with shuffled ones.

Each held-out utterance follows a prompt of its own voice, as in zero-shot synthesis: [sos, prompt
text, text, task, prompt speech, speech]. Only the utterance's speech tokens and its end token
count. A model that reads its text does much worse when the texts are shuffled between the
utterances.

Legend: B batch, T time, V speech codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.markup import escape
from torch.nn import functional as F

from eval.console import progress_bar
from eval.store.files import InputError
from mamtra.lm.sequence import IGNORE, build_sequence, collate
from mamtra.lm.speech_lm import SpeechLM
from mamtra.systems import TextFrontend
from mamtra.text.characters import CharacterTokenizer

COLUMNS = ("utterance", "split", "text", "voice", "tokens")
Triple = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class CrossEntropy:
    """Nats per speech token, end tokens included, over `n_tokens` of `n_utterances`."""

    nats_per_token: float
    shuffled_nats_per_token: float
    n_tokens: int
    n_utterances: int


@dataclass(frozen=True)
class HeldOut:
    """One held-out utterance with the prompt of its voice."""

    utterance: str
    text: str
    tokens: np.ndarray
    prompt_text: str
    prompt_tokens: np.ndarray


def read_held_out(path: Path, limit: int | None = None) -> list[HeldOut]:
    """The rows with split "test", each with the first row of its voice that has split "prompt".

    Raises:
        InputError: file absent, columns absent, no test rows, or a voice without a prompt.
    """
    rows = _read_rows(path)
    prompts: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["split"] == "prompt":
            prompts.setdefault(row["voice"], row)
    tests = [row for row in rows if row["split"] == "test"]
    if not tests:
        raise InputError(f"{path}: no rows with split 'test'")
    orphans = sorted({row["voice"] for row in tests} - set(prompts))
    if orphans:
        raise InputError(f"{path}: no row with split 'prompt' for voice(s) {', '.join(orphans)}")
    return [
        HeldOut(
            row["utterance"],
            row["text"],
            np.asarray(row["tokens"], dtype=np.int64),
            prompts[row["voice"]]["text"],
            np.asarray(prompts[row["voice"]]["tokens"], dtype=np.int64),
        )
        for row in tests[:limit]
    ]


def cross_entropy(
    model: SpeechLM,
    rows: Sequence[HeldOut],
    *,
    name: str,
    console: Console,
    max_tokens: int = 4096,
    shuffle_seed: int = 0,
    tokenizer: TextFrontend | None = None,
) -> CrossEntropy:
    """Cross-entropy of `rows` with right and with shuffled texts.

    Args:
        max_tokens: bound of B * T per batch, padding included.
        shuffle_seed: of the permutation, in which no utterance keeps its own text.
        tokenizer: the model's; the mini system's when None.

    Raises:
        InputError: fewer than two rows.
    """
    if len(rows) < 2:
        raise InputError("shuffling texts needs at least two held-out utterances")
    texts = [row.text for row in rows]
    order = derangement(len(rows), shuffle_seed)
    variants = [texts, [texts[i] for i in order]]
    tokenizer = tokenizer or CharacterTokenizer()
    totals, n_tokens = [], 0
    with progress_bar(console) as bar:
        task = bar.add_task(f"{escape(name)}: cross-entropy", total=2 * len(rows))
        for variant in variants:
            triples = [
                target_sequence(row, text, tokenizer, model.speech_vocab)
                for row, text in zip(rows, variant, strict=True)
            ]
            total, n_tokens = 0.0, 0
            for batch in _batches(triples, max_tokens):
                prompted = [len(rows[i].prompt_tokens) for i in batch]
                nats, count = _batch_nats(model, [triples[i] for i in batch], prompted)
                total, n_tokens = total + nats, n_tokens + count
                bar.advance(task, len(batch))
            totals.append(total / n_tokens)
    return CrossEntropy(totals[0], totals[1], n_tokens, len(rows))


def target_sequence(row: HeldOut, text: str, tokenizer: TextFrontend, speech_vocab: int) -> Triple:
    """ids, kinds, targets of one utterance; targets of the prompt's tokens are IGNORE."""
    ids, kinds, targets = build_sequence(
        [*tokenizer.encode(row.prompt_text), *tokenizer.encode(text)],
        np.concatenate([row.prompt_tokens, row.tokens]).tolist(),
        speech_vocab,
    )
    targets = targets.clone()
    targets[: len(targets) - len(row.tokens) - 1] = IGNORE
    return ids, kinds, targets


def derangement(n: int, seed: int) -> list[int]:
    """A permutation of range(n), n >= 2, that leaves nothing in place: one random cycle."""
    order = np.random.default_rng(seed).permutation(n)
    result = np.empty(n, dtype=np.int64)
    result[order] = np.roll(order, 1)
    return result.tolist()


def _batches(triples: Sequence[Triple], max_tokens: int) -> list[list[int]]:
    """Rows of similar length together, each batch within `max_tokens` (or a single row)."""
    batches: list[list[int]] = []
    for index in sorted(range(len(triples)), key=lambda i: len(triples[i][0])):
        length = len(triples[index][0])
        if batches and (len(batches[-1]) + 1) * length <= max_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


@torch.inference_mode()
def _batch_nats(
    model: SpeechLM, triples: Sequence[Triple], prompted: Sequence[int]
) -> tuple[float, int]:
    """Sum of nats over the targets of one batch, and their number. prompted: tokens of each prompt."""
    device = next(model.parameters()).device
    batch = collate(list(triples), tuple("" for _ in triples), n_prompt=prompted).to(device)
    embeds = model.embed(batch.ids, batch.kinds)
    logits = model(embeds, batch.mask, generated=batch.generated).logits  # (B, T, V+3)
    nats = F.cross_entropy(
        logits.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum"
    )
    return float(nats), int((batch.targets != IGNORE).sum())


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of splits "test" and "prompt", in the file's order."""
    if not path.is_file():
        raise InputError(f"no such token table: {path}")
    try:
        frame = pd.read_parquet(path, columns=list(COLUMNS))
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise InputError(f"{path}: not a token table with {', '.join(COLUMNS)} ({error})") from None
    kept = frame[frame["split"].isin(["test", "prompt"])]
    return [dict(zip(COLUMNS, values, strict=True)) for values in kept.itertuples(index=False)]
