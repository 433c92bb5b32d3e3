"""Out of memory: which batch it was, and which budget fits."""

from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

SHARE = 0.95  # of what is left by a linear rule; allocators keep gaps


class OutOfMemoryError(RuntimeError):
    """A batch did not fit; the message names the setting and the value that does."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the device or of the machine was used up."""
    texts = ("DefaultCPUAllocator", "out of memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
    )


def budget(total: int, resident: int, peak: int, padded: int) -> int:
    """Padded positions that fit into `total` bytes, when a batch of `padded` took from `resident` (weights and
    optimiser) to `peak` bytes: memory beyond the weights grows with the positions."""
    if peak <= resident:
        return padded
    return int(SHARE * (total - resident) / (peak - resident) * padded)


class MemoryGuard(Callback):
    """Notes what fits, for `explain`. `setting`: the budget's name; `unit`: of it, one padded position."""

    def __init__(self, setting: str, unit: float = 1.0):
        self.setting, self.unit = setting, unit
        self.now = self.largest = self.resident = self.peak = self.step = 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.now, self.step = batch.n_padded, trainer.global_step
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)
            self.resident = torch.cuda.memory_allocated(pl_module.device)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if self.now > self.largest:
            self.largest = self.now
            if pl_module.device.type == "cuda":
                self.peak = torch.cuda.max_memory_allocated(pl_module.device)

    def on_validation_batch_start(
        self, trainer, pl_module, batch: Any, batch_idx, dataloader_idx=0
    ) -> None:
        self.now = batch.n_padded

    def explain(self, device: torch.device) -> OutOfMemoryError:
        """What to set, from what was seen."""
        what = f"out of memory on {device} at step {self.step}, in a batch of {self.now} padded positions"
        if not self.largest:
            fits, known = self.now // 2, "none was done before; a first try"
        else:
            fits, known = min(self.largest, self.now), f"{self.largest} were done before"
            if device.type == "cuda":
                total = torch.cuda.get_device_properties(device).total_memory
                fits = min(budget(total, self.resident, self.peak, self.largest), self.now)
        value = f"{fits * self.unit:.6g}"
        return OutOfMemoryError(
            f"{what} ({known}): {self.setting}={value}, and trainer.accumulate as many times larger if a "
            "step is to see as much as before. Language models need less memory a position with "
            "memory.recompute=true memory.logit_chunk=4096"
        )
