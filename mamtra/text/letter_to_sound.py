"""Pronunciations of words that are in no lexicon: each letter speaks no, one or two phonemes.

A small convolutional network reads the letters and picks one chunk of phonemes for each. Its weights and
chunks are in `letter_to_sound.safetensors` beside this file, made by `python -m data.letter_to_sound`.

Shapes: B batch, L letters, C chunks.
"""

import json
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WEIGHTS = Path(__file__).with_name("letter_to_sound.safetensors")


class LetterToSound(nn.Module):
    """Letters (B, L), 0 = padding, letters from 1, to chunk scores (B, L, C)."""

    def __init__(
        self, chunks: tuple[tuple[str, ...], ...], width: int = 96, blocks: int = 4
    ) -> None:
        super().__init__()
        self.chunks = chunks
        self.embedding = nn.Embedding(len(LETTERS) + 1, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, 5, padding=2 * (1 + i % 2), dilation=1 + i % 2)
            for i in range(blocks)
        )
        self.projects = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.outlet = nn.Linear(width, len(chunks))

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        """(B, L) int64 to (B, L, C)."""
        here = (letters > 0).unsqueeze(-1)
        x = self.embedding(letters)
        for norm, conv, project in zip(self.norms, self.convs, self.projects, strict=True):
            heard = conv((norm(x) * here).transpose(1, 2)).transpose(1, 2)
            x = x + project(F.gelu(heard))
        return self.outlet(x)

    @torch.inference_mode()
    def pronounce(self, word: str) -> tuple[str, ...]:
        """ARPAbet phonemes of a word of letters a-z (others are skipped); empty when there are none."""
        ids = letter_ids(word)
        if not ids:
            return ()
        best = self(torch.tensor([ids]))[0].argmax(-1).tolist()
        return with_stress(tuple(phone for i in best for phone in self.chunks[i]))


def letter_ids(word: str) -> list[int]:
    """Ids of the letters of a word, other characters left out."""
    return [LETTERS.index(letter) + 1 for letter in word.lower() if letter in LETTERS]


def with_stress(phones: tuple[str, ...]) -> tuple[str, ...]:
    """The pronunciation with its first vowel stressed where no vowel is."""
    if any(phone.endswith("1") for phone in phones):
        return phones
    for i, phone in enumerate(phones):
        if phone.endswith("0"):
            return (*phones[:i], phone[:-1] + "1", *phones[i + 1 :])
    return phones


@cache
def shipped_model() -> LetterToSound:
    """The model beside this file, in fp32. Raises FileNotFoundError when it is not there."""
    if not WEIGHTS.is_file():
        raise FileNotFoundError(f"{WEIGHTS} is missing: python -m data.letter_to_sound makes it")
    with safe_open(WEIGHTS, "pt") as stored:
        chunks = tuple(tuple(chunk) for chunk in json.loads(stored.metadata()["chunks"]))
        tensors = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
    model = LetterToSound(chunks)
    model.load_state_dict(tensors)
    return model.eval()
