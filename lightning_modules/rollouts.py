"""On-policy distillation: the student speaks, the teacher says what it would have said at each of its tokens.

A student that has only heard recordings has never seen a history with its own mistakes in it, and then has to
go on from one. Generalised knowledge distillation (Agarwal et al. 2023, arXiv 2306.13649, algorithm 1): a share
of the steps is on sequences that the student draws itself, and the divergence is taken at what it drew.

B rows, T time, S speech tokens of a row.
"""

import math
from dataclasses import dataclass

import torch

from lightning_modules.objectives import DIRECTIONS
from mamtra.lm.generate import generate_batch
from mamtra.lm.sequence import (
    IGNORE,
    KIND_SPEECH,
    KIND_TEXT,
    SequenceBatch,
    build_prompt,
    collate,
    eos_id,
)
from mamtra.lm.speech_lm import SpeechLM

NO_PROMPTS = "the batch does not say where its last utterances begin (`SequenceBatch.n_prompt`)"


@dataclass(frozen=True)
class OnPolicy:
    """`share` of the steps in which the student learns from what it says, 0 for none.

    `direction`, `alpha`: of the skew KL there. `longest`: what it says ends by itself or at so many times the
    length of the recording.
    """

    share: float
    direction: str
    alpha: float
    longest: float

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"on_policy.share must be in [0, 1], not {self.share}")
        if self.direction not in DIRECTIONS:
            valid = ", ".join(DIRECTIONS)
            raise ValueError(f"on_policy.direction must be one of {valid}, not {self.direction!r}")
        if not 0 <= self.alpha < 1:
            raise ValueError(f"on_policy.alpha must be in [0, 1), not {self.alpha}")
        if self.longest < 1:
            raise ValueError(f"on_policy.longest must be at least 1, not {self.longest}")

    def is_due(self, step: int) -> bool:
        """Whether the student speaks in `step`, counted from 0: evenly spread, and the same for all ranks."""
        return math.floor((step + 1) * self.share) > math.floor(step * self.share)


def speak(student: SpeechLM, batch: SequenceBatch, longest: float) -> SequenceBatch:
    """What `student` says in the place of each row's last utterance, after the text and what comes before it.

    Targets are where it drew a token, or that it stops; IGNORE elsewhere. A row may say nothing but that it
    stops. Drawn with the decoding's own settings from torch's global generator, without gradient, in the
    weights' precision. The student's mode stays. Raises ValueError for a batch without `n_prompt`.
    """
    if batch.n_prompt is None:
        raise ValueError(NO_PROMPTS)
    ids, kinds = batch.ids.cpu(), batch.kinds.cpu()
    texts = [row[kind == KIND_TEXT] for row, kind in zip(ids, kinds, strict=True)]
    speech = [row[kind == KIND_SPEECH] for row, kind in zip(ids, kinds, strict=True)]
    starts = batch.n_prompt.tolist()
    prompts = [row[:start] for row, start in zip(speech, starts, strict=True)]
    seeds = torch.randint(2**62, (len(texts),)).tolist()
    training = student.training
    student.eval()
    try:
        # Under autocast a live state would be in two precisions.
        with torch.autocast(student.device.type, enabled=False):
            results = generate_batch(
                student,
                texts,
                prompts,
                [torch.Generator().manual_seed(seed) for seed in seeds],
                target_lengths=[len(s) - len(p) for s, p in zip(speech, prompts, strict=True)],
                min_ratio=0.0,
                max_ratio=longest,
            )
    finally:
        student.train(training)
    sequences = []
    for text, prompt, said in zip(texts, prompts, results, strict=True):
        tokens = torch.tensor(said.tokens, dtype=torch.int64)
        row, kind = build_prompt(text, torch.cat((prompt, tokens)))
        # At the length limit, or where nothing could be drawn, the last position has no target.
        cut = said.hit_max or said.failed
        last = IGNORE if cut else eos_id(student.speech_vocab)
        drawn = torch.cat((tokens, torch.tensor([last])))
        before = torch.full((len(row) - len(drawn),), IGNORE)
        sequences.append((row, kind, torch.cat((before, drawn))))
    return collate(sequences, batch.utterances, n_prompt=starts).to(batch.ids.device)
