"""Training of MambaVoiceCloning: losses, every arm, the decoder's part, stopping and resuming."""

import math
from dataclasses import replace

import lightning
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from lightning_modules import mvc_losses as losses
from lightning_modules.fit import fit
from lightning_modules.mvc import DecoderTraining, LossWeights, MVCModule, noisy
from lightning_modules.mvc_aligner import AlignerModule, border_errors_ms
from lightning_modules.optim import OptimizerSettings
from lightning_modules.run_folder import RunFolder
from lightning_modules.trainer_settings import TrainerSettings
from lightning_modules.watching import Watching
from mamtra.mvc.aligner import Aligner, AlignerSizes, load_aligner
from mamtra.mvc.arms import ARMS
from mamtra.mvc.batch import MVCBatch
from mamtra.mvc.folder import load_mvc
from mamtra.mvc.model import build
from mamtra.mvc.voice import Voices
from tests.small_mvc import SMALLEST as SIZES

WEIGHTS = LossWeights(duration=1, pitch=1, voicing=0.5, energy=0.5, mu=1, flow=1)
DECODER = DecoderTraining(frozen_steps=0, lr_share=1.0, crop=8, duration_noise=0.0)
OPTIMIZER = OptimizerSettings("adamw_cosine", 1e-2, (0.9, 0.98), 0.01, 1, None)


def made_batch(seed: int = 0) -> MVCBatch:
    generator = torch.Generator().manual_seed(seed)
    durations = torch.tensor([[3, 4, 5, 4], [6, 4, 4, 0]])
    n_frames = durations.sum(dim=1)
    return MVCBatch(
        ids=torch.tensor([[1, 2, 3, 4], [5, 6, 7, 0]]),
        n_ids=torch.tensor([4, 3]),
        durations=durations,
        mel=torch.randn(2, 16, 80, generator=generator),
        log_f0=0.1 * torch.randn(2, 16, generator=generator),
        voiced=(torch.rand(2, 16, generator=generator) > 0.3).float(),
        n_frames=n_frames,
        voices=Voices(torch.eye(6)[:2]),
        utterances=("a", "b"),
    )


def made_module(arm: str = "mvc", decoder: DecoderTraining = DECODER) -> MVCModule:
    torch.manual_seed(0)
    return MVCModule(build(SIZES, arm), OPTIMIZER, WEIGHTS, decoder)


class Batches(lightning.LightningDataModule):
    """One batch after the other, from the trainer's step on."""

    budget_setting, budget_unit = "batch.batch_s", 0.01

    def train_dataloader(self):
        start = self.trainer.global_step if self.trainer else 0
        return DataLoader([made_batch(i) for i in range(start, 20)], batch_size=None)  # type: ignore[arg-type]

    def val_dataloader(self):
        return DataLoader([self.valid()], batch_size=None)  # type: ignore[arg-type]

    def valid(self) -> MVCBatch:
        return made_batch(99)

    def count_steps(self, epochs, world_size, accumulate):
        return 20 * epochs


def settings(**changes) -> TrainerSettings:
    given = {
        "accelerator": "cpu",
        "devices": 1,
        "nodes": 1,
        "strategy": "auto",
        "precision": "32-true",
        "grad_clip": 1.0,
        "accumulate": 1,
        "val_every": 2,
        "log_every": 1,
        "checkpoint_every": 2,
        "checkpoint_minutes": None,
        "keep": (),
        "nonfinite_limit": 2,
        "export": "last",
        "export_dtype": "fp32",
        "global_tokens": None,
        "spike": None,
        "arguments": {},
    }
    return TrainerSettings(**given | changes)


class Untimed(Batches):
    """Of a corpus without phoneme times."""

    def valid(self) -> MVCBatch:
        batch = made_batch(99)
        return replace(batch, durations=torch.zeros_like(batch.durations))


def trained(module, folder, steps, name="mvc", batches=Batches, **changes):
    made = RunFolder(folder, name)
    options = {"settings": settings(**changes), "watching": Watching.by_csv(made.path)}
    return fit(module, batches(), made, {"settings": {}}, steps=steps, seed=0, **options)


def test_losses_are_means_over_what_is_marked_and_zero_where_nothing_is():
    found, wanted = torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[0.0, 4.0, 0.0]])
    valid = torch.tensor([[True, True, False]])
    assert float(losses.absolute_loss(found, wanted, valid)) == 1.5
    assert float(losses.squared_loss(found, wanted, valid)) == 2.5
    assert float(losses.pitch_loss(found, wanted, torch.zeros(1, 3, dtype=torch.bool))) == 0
    durations = torch.tensor([[math.e - 1, 0.0, 5.0]])
    log = torch.tensor([[1.0, 1.0, 0.0]])
    assert float(losses.duration_loss(log, durations, valid)) == pytest.approx(0.5)
    bce = losses.voicing_loss(torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 1.0]]), valid)
    assert float(bce) == pytest.approx(math.log(2))
    found = torch.full((1, 3, 2), float("nan"))
    found[:, :2] = 1.0  # what is not marked may be anything
    assert float(losses.squared_loss(found, torch.zeros(1, 3, 2), valid)) == 1


@pytest.mark.parametrize("arm", ARMS)
def test_steps_on_one_batch_lower_every_arms_loss(arm):
    module, batch = made_module(arm), made_batch()
    optimiser = torch.optim.Adam(module.model.parameters(), 1e-2)
    totals = []
    for _ in range(12):
        optimiser.zero_grad()
        total = module.total(module.terms(batch, torch.Generator().manual_seed(1)))
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert totals[-1] < 0.85 * totals[0]
    assert all(p.grad is not None for p in module.model.parameters())


@pytest.mark.parametrize("arm", ARMS)
def test_no_gradient_reaches_the_mel_that_is_to_be_said_but_in_the_arm_that_leaks(arm):
    """As in training, where the target is in the batch that conditioning is made of."""
    module, batch = made_module(arm), made_batch()
    batch.mel.requires_grad_()
    found = module.condition(batch)
    told = (*vars(found.prosody).values(), found.log_durations, found.style)
    total = sum((part.float().sum() for part in told), torch.zeros(()))
    (gradient,) = torch.autograd.grad(total, batch.mel, allow_unused=True)
    if arm == "leak":
        assert gradient is not None and float(gradient.abs().sum()) > 0
    else:
        assert gradient is None, "what conditions does not depend on it at all"


def test_padding_of_a_batch_changes_no_term():
    module, batch = made_module(), made_batch()
    terms = module.terms(batch, torch.Generator().manual_seed(1))
    for name in ("mel", "log_f0", "voiced"):
        getattr(batch, name)[1, 14:] = 7.0
    after = module.terms(batch, torch.Generator().manual_seed(1))
    for name, value in terms.items():
        if name != "flow":  # whose noise is drawn for padding, too
            torch.testing.assert_close(after[name], value)


def test_noise_on_durations_keeps_every_sum_and_padding():
    durations = torch.randint(0, 12, (50, 9))
    durations[:, 7:] = 0
    torch.manual_seed(0)
    moved = noisy(durations, 0.2)
    assert torch.equal(moved.sum(dim=1), durations.sum(dim=1)) and int(moved.min()) >= 0
    assert not torch.equal(moved, durations) and int(moved[:, 7:].abs().sum()) == 0
    assert torch.equal(noisy(durations, 0.0), durations)


def test_a_frozen_decoder_stays_and_a_share_is_its_rate(tmp_path):
    module = made_module(decoder=DecoderTraining(3, 0.1, 8, 0.0))
    before = {name: p.clone() for name, p in module.model.named_parameters()}
    trained(module, tmp_path / "frozen", 3)
    moved = {n for n, p in module.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved and not [name for name in moved if name.startswith("decoder.")]
    module = made_module(decoder=DecoderTraining(1, 0.1, 8, 0.0))
    trained(module, tmp_path / "both", 4)
    assert not torch.equal(module.model.decoder.inlet.weight, before["decoder.inlet.weight"])
    optimiser = module.trainer.optimizers[0]
    rates = {group["name"]: group["initial_lr"] for group in optimiser.param_groups}
    assert rates["decoder decayed"] == pytest.approx(0.1 * rates["conditioning decayed"])


@pytest.mark.parametrize("frozen_steps", [3, 1])
def test_two_processes_freeze_and_thaw_the_decoder(tmp_path, frozen_steps):
    # Which parameters have gradients is agreed on once: a decoder without any ended the second step.
    module = made_module(decoder=DecoderTraining(frozen_steps, 0.1, 8, 0.0))
    before = {name: p.clone() for name, p in module.model.named_parameters()}
    two = {"devices": 2, "strategy": "ddp_fork"}
    after = load_mvc(trained(module, tmp_path / "run", 3, **two)).state_dict()
    moved = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert any(name.startswith("text.") for name in moved)
    assert any(name.startswith("decoder.") for name in moved) == (frozen_steps < 3)


class Stop(Callback):
    """Ends the first part of a run in its third step, as Ctrl-C would."""

    stopped = False

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 2 and not self.stopped:
            self.stopped = True
            raise KeyboardInterrupt


def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path, callback):
    whole = trained(made_module(), tmp_path / "whole", 4)
    callback(Stop())
    # Lightning ends the process on KeyboardInterrupt.
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trained(made_module(), tmp_path / "parts", 4)
    assert not (tmp_path / "parts" / "mvc").exists()
    parts = trained(made_module(), tmp_path / "parts", 4)
    a, b = (load_mvc(folder).state_dict() for folder in (whole, parts))
    for name, tensor in a.items():
        torch.testing.assert_close(b[name], tensor, rtol=1e-6, atol=1e-6)
    log = (tmp_path / "whole" / "metrics.csv").read_text().splitlines()
    assert "val_total" in log[0] and len(log) >= 6


def test_model_and_aligner_train_in_bfloat16_close_to_fp32(tmp_path):
    # What trainer.precision=auto takes where the processor has it. A loss is a mean of many values of 8 bits.
    found = {}
    for precision in ("32-true", "bf16-mixed"):
        for name in ("mvc", "aligner"):
            torch.manual_seed(0)
            aligner = AlignerModule(Aligner(AlignerSizes(12, 16)), OPTIMIZER)
            module = made_module() if name == "mvc" else aligner
            folder = tmp_path / precision / name
            trained(module, folder, 2, name, precision=precision)
            column = "val_total" if name == "mvc" else "val_loss"
            found[precision, name] = pd.read_csv(folder / "metrics.csv")[column].dropna().iloc[-1]
    for name in ("mvc", "aligner"):
        assert found["bf16-mixed", name] == pytest.approx(found["32-true", name], rel=0.02)
        assert found["bf16-mixed", name] != found["32-true", name], "it did not train in bfloat16"


def test_the_aligner_measures_distances_in_fp32_under_autocast():
    # 50 tokens in 300 frames: distances whose terms nearly cancel, and a prior of up to a hundred nats.
    torch.manual_seed(0)
    model = Aligner(AlignerSizes(12, 64)).eval()
    given = (torch.randint(12, (1, 50)), torch.tensor([50]), torch.randn(1, 300, 80))
    with torch.no_grad():
        wanted = model(*given, torch.tensor([300]))
        with torch.autocast("cpu", torch.bfloat16):
            found = model(*given, torch.tensor([300]))
    assert found.dtype == torch.float32
    near = wanted > -10  # what a path can go through
    # What remains is the rounding of the encoders; the prior alone was off by up to half a nat.
    assert float((found - wanted)[near].abs().max()) < 0.05
    far = (wanted < -40) & (wanted > -1000)
    assert float((found - wanted)[far].abs().max()) < 0.05


def test_the_aligner_trains_and_reports_its_borders_in_ms(tmp_path):
    torch.manual_seed(0)
    module = AlignerModule(Aligner(AlignerSizes(12, 16)), OPTIMIZER)
    folder = trained(module, tmp_path / "aligner", 3, "aligner")
    assert load_aligner(folder).sizes == AlignerSizes(12, 16)
    assert "val_border_ms" in (tmp_path / "aligner" / "metrics.csv").read_text()
    module = AlignerModule(Aligner(AlignerSizes(12, 16)), OPTIMIZER)
    trained(module, tmp_path / "untimed", 2, "aligner", Untimed)
    borders = pd.read_csv(tmp_path / "untimed" / "metrics.csv")["val_border_ms"]
    assert len(borders) and borders.isna().all()
    found = border_errors_ms(torch.tensor([4, 4, 2]), torch.tensor([3, 4, 3]))
    assert found.tolist() == [10, 10]
