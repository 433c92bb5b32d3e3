"""The alignment teacher (7): which frame says which text token. Training only: no model's export holds it.

Encoded mel frames and text tokens, scores by their distance, a beta-binomial prior along the diagonal
(2108.10447, One TTS Alignment). It learns by the forward-sum loss, and durations are the best monotonic path.

B batch, T mel frames at 100 Hz, N text tokens, H width, M mel bands.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra.backbone.elementwise import without_autocast
from mamtra.model_folder import (
    DESCRIPTION,
    CheckpointError,
    read_described,
    read_weights,
    write_folder,
)
from mamtra.mvc.rows import Rows
from mamtra.speech.features import N_MELS

FORMAT = "mamtra-mvc-aligner-1"
TEMPERATURE = 0.05
HEADS, LAYERS = 4, 2
NEVER = -1e9


@dataclass(frozen=True)
class AlignerSizes:
    """`vocab` text tokens, `width` of both encoders."""

    vocab: int
    width: int


class _Convs(nn.Module):
    """Two convolutions of five taps over valid positions."""

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(n_in, width, 5, padding=2)
        self.second = nn.Conv1d(width, width, 5, padding=2)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        """x (B, T, n_in) -> (B, T, H)."""
        mask = rows.mask.transpose(1, 2)
        y = F.silu(self.first(x.transpose(1, 2) * mask)) * mask
        return self.second(y).transpose(1, 2)


class Aligner(nn.Module):
    """Log-probabilities of the text token that each frame says."""

    def __init__(self, sizes: AlignerSizes) -> None:
        super().__init__()
        self.sizes, width = sizes, sizes.width
        self.embedding = nn.Embedding(sizes.vocab, width)
        self.text = _Convs(width, width)
        layer = nn.TransformerEncoderLayer(
            width, HEADS, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.context = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.mel = _Convs(N_MELS, width)

    def forward(self, ids: Tensor, n_ids: Tensor, mel: Tensor, n_frames: Tensor) -> Tensor:
        """ids (B, N), mel (B, T, M) normalised -> (B, T, N), prior included; NEVER on padding."""
        text = Rows.of(n_ids, ids.shape[1])
        heard = self.text(self.embedding(ids), text)
        heard = self.context(heard, src_key_padding_mask=~text.valid)
        said = self.mel(mel, Rows.of(n_frames, mel.shape[1]))
        with without_autocast(said):
            scores = _nearness(said.float(), heard.float())
            scores = scores.masked_fill(~text.valid[:, None, :], NEVER)
            prior = diagonal_prior(n_ids.tolist(), n_frames.tolist(), *scores.shape[1:])
            return (scores.log_softmax(dim=-1) + prior.to(scores)).clamp(min=NEVER)


def _nearness(said: Tensor, heard: Tensor) -> Tensor:
    """(B, T, H), (B, N, H) -> (B, T, N). In fp32: the terms of the distance nearly cancel, and a prior of
    -80 nats rounded to 8 bits is off by half a nat."""
    # A product: the differences of all pairs would take T * N * H numbers.
    distance = (
        said.square().sum(-1, keepdim=True)
        - 2 * said @ heard.transpose(1, 2)
        + heard.square().sum(-1)[:, None, :]
    )
    return -TEMPERATURE * distance


def diagonal_prior(
    n_ids: Sequence[int], n_frames: Sequence[int], length: int, width: int
) -> Tensor:
    """(B, length, width) log-probabilities of tokens by a beta-binomial around the diagonal; 0 on padding."""
    prior = torch.zeros(len(n_ids), length, width)
    for row, (n, t) in enumerate(zip(n_ids, n_frames, strict=True)):
        prior[row, :t, :n] = _beta_binomial(n, t)
    return prior


def _beta_binomial(n: int, t: int) -> Tensor:
    """(t, n): log P(k) of n - 1 draws with a = frame and b = t + 1 - frame, frames counted from 1."""

    def log_beta(a: Tensor, b: Tensor) -> Tensor:
        return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)

    k = torch.arange(n, dtype=torch.float64)[None]
    a = torch.arange(1, t + 1, dtype=torch.float64)[:, None]
    b = t + 1 - a
    # C(n - 1, k) = 1 / (n B(n - k, k + 1))
    choose = -log_beta(n - k, k + 1) - math.log(n)
    return (choose + log_beta(k + a, n - 1 - k + b) - log_beta(a, b)).float()


def forward_sum(log_p: Tensor, n_ids: Tensor, n_frames: Tensor) -> Tensor:
    """Minus the log of the sum over all monotonic paths, a mean over frames; log_p (B, T, N).

    CTC whose labels are the tokens in order: all differ, so that none of them needs a blank between.
    Raises ValueError for a row with fewer frames than tokens, which has no path.
    """
    if bool((short := n_frames < n_ids).any()):
        row = int(short.nonzero()[0])
        raise ValueError(
            f"row {row}: {int(n_frames[row])} frames cannot say {int(n_ids[row])} tokens"
        )
    with_blank = F.pad(log_p.float(), (1, 0), value=NEVER).transpose(0, 1)
    labels = torch.arange(1, log_p.shape[2] + 1, device=log_p.device).expand(len(n_ids), -1)
    each = F.ctc_loss(with_blank, labels, n_frames, n_ids, reduction="none")
    return (each / n_frames).mean()


def best_path(log_p: np.ndarray) -> np.ndarray:
    """log_p (T, N) -> (N,) int64 frames of each token on the best monotonic path, at least one each.

    Raises ValueError for fewer frames than tokens.
    """
    length, n = log_p.shape
    if length < n:
        raise ValueError(f"{length} frames cannot say {n} tokens")
    total = np.full(n, -np.inf)
    total[0] = log_p[0, 0]
    moved = np.zeros((length, n), dtype=bool)
    for t in range(1, length):
        before = np.concatenate(([-np.inf], total[:-1]))
        moved[t] = before > total
        total = np.where(moved[t], before, total) + log_p[t]
    durations = np.zeros(n, dtype=np.int64)
    token = n - 1
    for t in range(length - 1, -1, -1):
        durations[token] += 1
        token -= int(moved[t, token])
    return durations


def save_aligner(
    folder: str | Path, model: Aligner, provenance: dict[str, Any], dtype: str = "fp32"
) -> Path:
    """As `mamtra.mvc.folder.save_mvc`."""
    description = {"format": FORMAT, "sizes": asdict(model.sizes), "provenance": provenance}
    return write_folder(folder, model, description, dtype)


def load_aligner(folder: str | Path) -> Aligner:
    """In fp32 and eval mode. Raises CheckpointError as `mamtra.mvc.folder.load_mvc`."""
    description = read_described(folder, FORMAT, {"sizes", "sha256", "provenance"})
    known = {field.name for field in fields(AlignerSizes)}
    if description["sizes"].keys() != known:
        raise CheckpointError(f"{Path(folder) / DESCRIPTION}: sizes must be {', '.join(known)}")
    model = Aligner(AlignerSizes(**description["sizes"]))
    found = read_weights(folder, model.state_dict(), description["sha256"])
    model.load_state_dict({name: tensor.float() for name, tensor in found.items()})
    return model.eval()
