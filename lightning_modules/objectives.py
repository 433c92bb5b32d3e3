"""Training losses as pure functions: each is a mean over the unmasked tokens, in float32 at least.

Letters: V vocabulary, D width; `...` stands for any leading dimensions that the mask shares. A mask
of None counts every token. Masked tokens are dropped before the softmax, so what stands there can
be anything. A batch with nothing unmasked gives 0 with zero gradients, never NaN.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

DIRECTIONS = ("forward", "reverse")
# Stands for log(0): exp() of it is 0, and 0 times it is 0 where -inf would give NaN.
LOG_ZERO = -1e30


def cross_entropy(
    logits: Tensor, targets: Tensor, mask: Tensor | None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean of -log p(target) in nats over the unmasked tokens; scalar.

    logits (..., V); targets (...) int64, valid where unmasked; mask (...) bool or None.
    """
    logits, targets = _select(_upcast(logits), mask), _select(targets, mask)
    losses = F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]),
        targets.reshape(-1),
        reduction="none",
        label_smoothing=label_smoothing,
    )
    return _mean(losses)


def skew_kl(
    teacher_logits: Tensor,
    student_logits: Tensor,
    mask: Tensor | None,
    direction: str = "forward",
    alpha: float = 0.1,
) -> Tensor:
    """Skew KL divergence of DistiLLM (Ko et al. 2024, arXiv 2402.03898, eq. 3-4) at temperature 1;
    scalar.

    With teacher p and student q, forward is KL(p || alpha p + (1 - alpha) q) and reverse is
    KL(q || (1 - alpha) p + alpha q). alpha = 0 is the plain KL, alpha = 1 is 0.
    Both logits (..., V); mask (...) bool or None.
    Raises ValueError for another direction or an alpha outside [0, 1].
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, not {direction!r}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], not {alpha}")
    log_p = _log_softmax(_select(teacher_logits, mask))
    log_q = _log_softmax(_select(student_logits, mask))
    first, other = (log_p, log_q) if direction == "forward" else (log_q, log_p)
    log_alpha = torch.log(first.new_tensor([alpha, 1 - alpha])).clamp(min=LOG_ZERO)
    mixture = torch.logaddexp(first + log_alpha[0], other + log_alpha[1])
    return _mean((first.exp() * (first - mixture)).sum(-1))


def logit_losses(
    teacher_hidden: Tensor,
    student_hidden: Tensor,
    targets: Tensor,
    teacher_head: Callable[[Tensor], Tensor],
    student_head: Callable[[Tensor], Tensor],
    direction: str,
    alpha: float,
    chunk: int | None = None,
) -> dict[str, Tensor]:
    """ "ce" and "logits" (skew KL) of the student, and its "accuracy", from states before the heads.

    teacher_hidden, student_hidden (N, D) at target positions, targets (N,) int64; a head makes (N, V).
    chunk: make the logits of that many positions at a time and again for the gradient, so that neither
    (N, V) tensor ever exists whole; None makes them at once. Both ways agree up to rounding.
    """

    def sums(teacher_part: Tensor, student_part: Tensor, target_part: Tensor) -> tuple[Tensor, ...]:
        logits = student_head(student_part)
        with torch.no_grad():
            teacher_logits = teacher_head(teacher_part)
        n = len(target_part)
        return (
            cross_entropy(logits, target_part, None) * n,
            skew_kl(teacher_logits, logits, None, direction, alpha) * n,
            accuracy(logits, target_part, None) * n,
        )

    n = len(targets)
    if chunk is None or n <= chunk:
        parts = [sums(teacher_hidden, student_hidden, targets)]
    else:
        pieces = zip(
            teacher_hidden.split(chunk),
            student_hidden.split(chunk),
            targets.split(chunk),
            strict=True,
        )
        parts = [checkpoint(sums, *piece, use_reentrant=False) for piece in pieces]
    names = ("ce", "logits", "accuracy")
    totals = zip(names, zip(*parts, strict=True), strict=True)
    return {name: torch.stack(values).sum() / max(n, 1) for name, values in totals}


def relative_mse(teacher_state: Tensor, student_state: Tensor, mask: Tensor | None) -> Tensor:
    """Mean square of (student - teacher) over the mean square of the teacher; scalar, 1 for a
    student of 0.

    Both (..., D); mask (...) bool or None. The scale of hidden states differs by layer and model;
    the ratio does not, so one loss weight fits all.
    """
    teacher, student = _select(_upcast(teacher_state), mask), _select(_upcast(student_state), mask)
    scale = _mean(teacher.square()).clamp(min=torch.finfo(teacher.dtype).tiny)
    return _mean((student - teacher).square()) / scale


def embedding_loss(
    teacher_states: Sequence[Tensor], student_states: Sequence[Tensor], mask: Tensor | None
) -> Tensor:
    """Relative MSE averaged over the given states, e.g. one per layer; scalar.

    Each state (..., D). Raises ValueError when the two sides have different or no states.
    """
    if not teacher_states or len(teacher_states) != len(student_states):
        raise ValueError(
            f"need the same states of both, got {len(teacher_states)} of the teacher and "
            f"{len(student_states)} of the student"
        )
    pairs = zip(teacher_states, student_states, strict=True)
    return torch.stack([relative_mse(t, s, mask) for t, s in pairs]).mean()


def accuracy(logits: Tensor, targets: Tensor, mask: Tensor | None) -> Tensor:
    """Share of unmasked tokens whose most likely class is the target; scalar. Shapes as
    cross_entropy."""
    return _mean((_select(logits, mask).argmax(-1) == _select(targets, mask)).float())


def _log_softmax(logits: Tensor) -> Tensor:
    return torch.log_softmax(_upcast(logits), dim=-1).clamp(min=LOG_ZERO)


def _upcast(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _select(values: Tensor, mask: Tensor | None) -> Tensor:
    """(..., *) with mask (...) -> (N, *), the N unmasked tokens."""
    return values if mask is None else values[mask]


def _mean(values: Tensor) -> Tensor:
    """Mean that is 0, with a zero gradient, for an empty tensor."""
    return values.sum() / max(values.numel(), 1)
