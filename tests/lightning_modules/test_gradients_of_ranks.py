"""The gradient of a step is that of its global batch, whoever computes which part of it."""

import multiprocessing

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from lightning_modules.ranks import one_thread_in_forks
from lightning_modules.run_folder import RunFolder
from lightning_modules.teacher import TeacherModule

STEPS = 6


class SaveGradients(Callback):
    """Leaves the gradients of every step, as the optimiser gets them, and the fills of a rank's batches."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_start(self, trainer, pl_module):
        self.fills = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.fills.append(batch.n_tokens / batch.n_padded)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        found = {name: p.grad.clone() for name, p in pl_module.model.named_parameters()}
        place = f"{trainer.global_step}-{trainer.global_rank}.pt"
        torch.save({"gradients": found, "fills": self.fills}, self.folder / place)


def test_one_two_and_four_processes_have_the_same_gradients(
    tiny_lm, optimizer, train, callback, tmp_path
):
    """To 1e-5 of the largest value of each; batches of the ranks are filled differently."""
    gradients, fills = {}, []
    for devices in (1, 2, 4):
        folder = tmp_path / str(devices)
        folder.mkdir()
        extra = SaveGradients(folder)
        callback(extra)
        strategy = "auto" if devices == 1 else "ddp_fork"
        train(
            TeacherModule(tiny_lm(), optimizer),
            RunFolder(folder / "run", "teacher"),
            STEPS,
            devices=devices,
            accumulate=4 // devices,
            strategy=strategy,
        )
        saved = [torch.load(folder / f"{step}-0.pt") for step in range(STEPS)]
        gradients[devices] = [one["gradients"] for one in saved]
        for rank in range(devices):
            fills += torch.load(folder / f"{STEPS - 1}-{rank}.pt")["fills"]
    assert max(fills) - min(fills) > 0.1, "the ranks' batches have to be filled differently"
    for devices in (2, 4):
        for step, (one, many) in enumerate(zip(gradients[1], gradients[devices], strict=True)):
            for name, value in one.items():
                far = (many[name] - value).abs().max() / value.abs().max().clamp(min=1e-12)
                assert far < 1e-5, (devices, step, name, float(far))


def _parallel_sum(n: int) -> float:
    return torch.tanh(torch.ones(n)).sum()


@pytest.mark.parametrize("threads", [2, 4])
def test_a_fork_of_a_process_that_computed_in_parallel_ends(threads):
    """It would wait for threads that are not in it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        _parallel_sum(1_000_000)
        one_thread_in_forks()
        child = multiprocessing.get_context("fork").Process(target=_parallel_sum, args=(1_000_000,))
        child.start()
        child.join(60)
        ended = child.exitcode
        child.kill()
    finally:
        torch.set_num_threads(before)
    assert ended == 0
