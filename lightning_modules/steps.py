"""What a step is: some batches of each rank, and randomness that follows from its number alone."""

import torch
from lightning.pytorch.callbacks import Callback


def ends_step(trainer, batch_idx: int) -> bool:
    """Whether the optimiser moved after this batch, the last of those that it accumulates."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class StepSeed(Callback):
    """Makes the randomness of a step (dropout) a function of (seed, step, share of the step): a resumed
    run repeats it, and so do n ranks in the place of n times the accumulation."""

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        accumulate = trainer.accumulate_grad_batches
        share = trainer.global_rank * accumulate + batch_idx % accumulate
        torch.manual_seed(hash((self.seed, trainer.global_step, share)) % 2**63)
