"""Trains the alignment teacher, which durations come from where a corpus has no phoneme times."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_modules.base import LanguageModelModule
from lightning_modules.optim import OptimizerSettings
from mamtra.mvc.aligner import Aligner, best_path, forward_sum, load_aligner, save_aligner
from mamtra.mvc.batch import MVCBatch


def border_errors_ms(found: Tensor, wanted: Tensor) -> Tensor:
    """(N,) durations of two alignments in 10-ms frames -> (N - 1,) distances of the borders in ms."""
    return 10.0 * (found.cumsum(0) - wanted.cumsum(0))[:-1].abs().float()


class AlignerModule(LanguageModelModule):
    """Logs "loss" and "val_loss", the forward-sum in nats a frame, and "val_border_ms": how far its borders are
    from the known durations of validation, on average (nan where the corpus has none)."""

    model: Aligner
    metric_names = ("loss", "val_loss", "val_border_ms")
    monitor = "val_loss"

    def __init__(self, model: Aligner, optimizer: OptimizerSettings) -> None:
        super().__init__()
        self.model, self.optimizer_settings = model.train(), optimizer

    def save_model(self, path: Path, provenance: Mapping[str, Any], dtype: str) -> None:
        save_aligner(path, self.model, dict(provenance), dtype)

    def restore_model(self, path: Path) -> None:
        self.model.load_state_dict(load_aligner(path).state_dict())

    def _scores(self, batch: MVCBatch) -> Tensor:
        return self.model(batch.ids, batch.n_ids, batch.mel, batch.n_frames)

    def training_step(self, batch: MVCBatch, batch_idx: int) -> Tensor:
        loss = forward_sum(self._scores(batch), batch.n_ids, batch.n_frames)
        self.log_training({"loss": loss}, len(batch.ids))
        return loss

    def validation_step(self, batch: MVCBatch, batch_idx: int) -> None:
        scores = self._scores(batch)
        errors = []
        for row, (n, t) in enumerate(
            zip(batch.n_ids.tolist(), batch.n_frames.tolist(), strict=True)
        ):
            known = batch.durations[row, :n].cpu()
            path = best_path(scores[row, :t, :n].cpu().numpy())
            if int(known.sum()):
                errors.append(border_errors_ms(torch.from_numpy(path), known))
        loss = forward_sum(scores, batch.n_ids, batch.n_frames)
        self.log_validation({"val_loss": loss}, len(batch.ids))
        # The mean of no rows is nan.
        border = torch.cat(errors).mean() if errors else loss.new_zeros(())
        self.log_validation({"val_border_ms": border}, len(batch.ids) if errors else 0)
