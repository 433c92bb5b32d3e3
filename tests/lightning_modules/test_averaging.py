"""What a run keeps where a running mean of its weights is asked for."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from lightning_modules.averaging import Averaging
from lightning_modules.fit import fit
from lightning_modules.run_folder import RunFolder
from lightning_modules.watching import Watching
from mamtra.mvc.folder import load_mvc
from tests.lightning_modules.test_mvc import Batches, Stop, made_module, settings

DECAY = 0.5


class Seen(Callback):
    """The weights after every step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer, pl_module: Any, outputs, batch, batch_idx):
        self.steps.append({n: p.clone() for n, p in pl_module.model.state_dict().items()})

    def mean(self, steps: int) -> dict[str, torch.Tensor]:
        """As the definition has it, from the first step on."""
        found = self.steps[0]
        for later in self.steps[1:steps]:
            found = {n: DECAY * found[n] + (1 - DECAY) * later[n] for n in found}
        return found


def trained(folder, steps, **changes):
    made = RunFolder(folder, "mvc")
    own = {"ema": {"_target_": "lightning_modules.averaging.Averaging", "decay": DECAY}}
    return fit(
        *(made_module(), Batches(), made, {"settings": {}}),
        steps=steps,
        seed=0,
        kept={2: "step-2"},
        settings=settings(**changes),
        watching=replace(Watching.by_csv(made.path), callbacks=own),
    )


def test_kept_best_and_exported_weights_are_the_running_mean(tmp_path, callback):
    callback(seen := Seen())
    whole = trained(tmp_path, 4)
    assert len(seen.steps) == 4
    wanted = {whole: seen.mean(4), tmp_path / "kept" / "step-2": seen.mean(2)}
    best = RunFolder(tmp_path, "mvc").best
    for folder, mean in {**wanted, best: None}.items():
        stored = load_mvc(folder).state_dict()
        either = (
            [mean] if mean else [seen.mean(2), seen.mean(4)]
        )  # by validation, after 2 and 4 steps
        assert any(
            all(torch.allclose(stored[n], one[n], rtol=1e-5, atol=1e-6) for n in stored)
            for one in either
        ), folder
    last = load_mvc(whole).state_dict()
    assert any(not torch.allclose(last[n], seen.steps[-1][n], rtol=1e-4) for n in last)


def test_a_run_that_was_killed_goes_on_with_its_mean(tmp_path, callback):
    whole = trained(tmp_path / "whole", 4)
    callback(Stop())
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trained(tmp_path / "parts", 4)
    parts = trained(tmp_path / "parts", 4)
    a, b = (load_mvc(folder).state_dict() for folder in (whole, parts))
    for name, tensor in a.items():
        torch.testing.assert_close(b[name], tensor, rtol=1e-6, atol=1e-6)


def test_the_best_weights_are_those_that_were_validated(tmp_path):
    exported = trained(tmp_path, 4, export="best")
    a, b = (load_mvc(x).state_dict() for x in (exported, RunFolder(tmp_path, "mvc").best))
    for name, tensor in a.items():
        torch.testing.assert_close(b[name], tensor)


def test_a_decay_that_is_none_is_said():
    with pytest.raises(ValueError, match="decay=1: at least 0 and less than 1"):
        Averaging(1)
