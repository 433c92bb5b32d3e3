"""The two optimisers of the speech side: the network learns from the critic of now."""

import lightning
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_modules.adversarial import AdversarialModule


class Judged(AdversarialModule):
    """A critic of one weight, whose score is taken before and after its step."""

    metric_names = ()

    def __init__(self):
        super().__init__(lr=1e-3, steps=2, adversarial_from=0, grad_clip=1.0)
        self.network, self.critic = nn.Linear(1, 1), nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.critic.weight, 1e-3)  # which a step of 3e-4 visibly changes
        self.scores = []

    def configure_optimizers(self):
        return self.optimizers_of(self.network.parameters(), self.critic)

    def training_step(self, batch, batch_idx):
        before = self.critic(batch)
        self.judge((before.float() - 1).square().mean())
        after = self.critic(batch)
        self.scores.append((float(before.mean()), float(after.mean())))
        self.learn((self.critic(self.network(batch)).float() - 1).square().mean())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_network_is_judged_by_the_critic_that_has_learned(precision):
    # Plain autocast keeps the weights that it has cast until the step ends; Lightning has that turned off.
    module = Judged()
    trainer = lightning.Trainer(max_steps=2, accelerator="cpu", precision=precision, barebones=True)
    trainer.fit(module, DataLoader(torch.ones(2, 1, 1)))  # type: ignore[arg-type]
    assert len(module.scores) == 2
    # A step of AdamW is its rate, 3e-4; a weight of 1e-3 in bfloat16 is right to one part in 256.
    for before, after in module.scores:
        assert after - before == pytest.approx(3e-4, rel=0.05)
