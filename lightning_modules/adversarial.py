"""Training of the speech side: a network and a critic that judges what it makes, each with its optimiser."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lightning_modules.base import TrainedModule
from mamtra.lm.checkpoint import DTYPES
from mamtra.weights_file import save_tensors


class AdversarialModule(TrainedModule):
    """Glue: a training step is `judge` from step `adversarial_from` on, then `learn`.

    `network` is what is trained and exported. One process only: the two backward passes of a step are not
    of the same parameters, which processes that average their gradients would have to agree on.
    """

    network: Any  # an nn.Module
    monitor = "val_loss"

    def __init__(self, lr: float, steps: int, adversarial_from: int, grad_clip: float) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.lr, self.steps, self.adversarial_from = lr, steps, adversarial_from
        self.grad_clip = grad_clip

    def optimizers_of(
        self, generator: Iterator[nn.Parameter] | list, critic: nn.Module, **adamw: Any
    ) -> tuple[list, list]:
        """AdamW of each, and one cycle of the learning rate for the first."""
        first = torch.optim.AdamW(generator, lr=self.lr, **adamw)
        second = torch.optim.AdamW(critic.parameters(), lr=3e-4, betas=(0.5, 0.9))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            first, self.lr, total_steps=self.steps + 1, pct_start=0.05
        )
        return [first, second], [schedule]

    def judge(self, loss: Tensor) -> None:
        """One step of the critic; none where its gradient is not finite, which would stay in its weights."""
        pair: Any = self.optimizers()
        critic = pair[1]
        critic.zero_grad()
        self.manual_backward(loss)
        grads = [p.grad for group in critic.param_groups for p in group["params"]]
        if torch.isfinite(nn.utils.get_total_norm([g for g in grads if g is not None])):
            # Not through Lightning's wrapper, whose step counter is the trainer's.
            critic.optimizer.step()

    def learn(self, loss: Tensor) -> None:
        """One step of the network."""
        pair: Any = self.optimizers()
        pair[0].zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(
            pair[0], gradient_clip_val=self.grad_clip, gradient_clip_algorithm="norm"
        )
        pair[0].step()
        schedule: Any = self.lr_schedulers()
        schedule.step()

    def save_model(self, path: Path, provenance: Mapping[str, Any], dtype: str) -> None:
        save_network(path, self.network, provenance, dtype)

    def restore_model(self, path: Path) -> None:
        self.network.load_state_dict(load_file(path))


def save_network(
    path: Path, network: nn.Module, provenance: Mapping[str, Any], dtype: str = "fp32"
) -> None:
    """Weights as one file of safetensors, where they come from as its metadata; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    tensors = {n: t.to(DTYPES[dtype]).contiguous() for n, t in network.state_dict().items()}
    save_tensors(tensors, partial, {"provenance": json.dumps(provenance)})
    os.replace(partial, path)
