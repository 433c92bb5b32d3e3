"""Optimisers and learning-rate schedules, with parameter groups chosen by module, never by name."""

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

RECIPES = ("adamw_cosine", "adam_constant")


@dataclass(frozen=True)
class OptimizerSettings:
    """What `build_optimizer` does. `fresh_lr`: of parameters without a source in a teacher; None: `lr`.

    "adamw_cosine": AdamW, linear warm-up, cosine to zero. "adam_constant": Adam without decay, after the
    warm-up one rate: the paper's recipe, which has no warm-up. Raises ValueError for another recipe, and
    for a decay that it does not have.
    """

    recipe: str
    lr: float
    betas: tuple[float, float]
    weight_decay: float
    warmup_steps: int
    fresh_lr: float | None

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise ValueError(f"recipe must be one of {', '.join(RECIPES)}, not {self.recipe!r}")
        if self.recipe == "adam_constant" and self.weight_decay:
            raise ValueError(
                f"optimizer.weight_decay={self.weight_decay}: recipe adam_constant has none, it must be 0"
            )

    @property
    def follows_length(self) -> bool:
        """Whether the learning rate of a step depends on how many there will be."""
        return self.recipe == "adamw_cosine"


def parameter_groups(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    fresh_names: Collection[str] = (),
    fresh_lr: float | None = None,
) -> list[dict]:
    """Optimiser groups of the trainable parameters of `model`.

    Weight decay acts on the matrices of linear layers only: norms, biases, embeddings,
    convolutions, A_log, D and dt are scales, rates or tables, and zero is no neutral value for
    them. `fresh_names` (parameters that were not copied from a teacher) are not decayed either and
    take `fresh_lr`, or `lr` when that is None. Raises ValueError for a fresh name that `model`
    lacks.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    unknown = set(fresh_names) - {name for name, _ in model.named_parameters()}
    if unknown:
        raise ValueError(f"fresh parameters the model lacks: {', '.join(sorted(unknown))}")
    matrices = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    fresh = {id(named[name]) for name in fresh_names if name in named}
    decayed = [p for p in named.values() if id(p) in matrices - fresh]
    plain = [p for p in named.values() if id(p) not in matrices | fresh]
    new = [p for p in named.values() if id(p) in fresh]
    groups = [
        {"name": "decayed", "params": decayed, "lr": lr, "weight_decay": weight_decay},
        {"name": "plain", "params": plain, "lr": lr, "weight_decay": 0.0},
        {"name": "fresh", "params": new, "lr": fresh_lr or lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def warmup(step: int, warmup_steps: int) -> float:
    """Factor on the learning rate: 0 -> 1 linearly over the warm-up, then 1."""
    return min(1.0, (step + 1) / max(1, warmup_steps))


def cosine_with_warmup(step: int, warmup_steps: int, max_steps: int) -> float:
    """Factor on the learning rate: 0 -> 1 linearly over the warm-up, then half a cosine to 0 at
    `max_steps`."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, max_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def build_optimizer(
    model: nn.Module,
    max_steps: int,
    settings: OptimizerSettings,
    fresh_names: Collection[str] = (),
) -> tuple[Optimizer, LambdaLR]:
    """Optimiser and its per-step schedule. Raises ValueError as `parameter_groups`."""
    groups = parameter_groups(
        model, settings.lr, settings.weight_decay, fresh_names, settings.fresh_lr
    )
    return optimizer_of(groups, max_steps, settings)


def optimizer_of(
    groups: list[dict], max_steps: int, settings: OptimizerSettings
) -> tuple[Optimizer, LambdaLR]:
    """Optimiser and per-step schedule of groups with their own learning rates."""
    if settings.recipe == "adam_constant":
        optimizer = torch.optim.Adam(groups, betas=settings.betas)
        return optimizer, LambdaLR(optimizer, lambda step: warmup(step, settings.warmup_steps))
    optimizer = torch.optim.AdamW(groups, betas=settings.betas)
    return optimizer, LambdaLR(
        optimizer, lambda step: cosine_with_warmup(step, settings.warmup_steps, max_steps)
    )
