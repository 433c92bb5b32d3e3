"""Layer-wise training: each converted mixer against the teacher's, on the teacher's input."""

import pytest
import torch

from lightning_modules.layerwise import LayerwiseModule
from lightning_modules.run_folder import RunFolder
from mamtra.lm.checkpoint import load_lm
from mamtra.transfer.student import build_student
from mamtra.transfer.watch import watch_mixers

ALL_MAMBA = ("mamba", "mamba")


@pytest.fixture
def batch(datamodule):
    return datamodule().calibration_batch()


@pytest.fixture
def layerwise(tiny_lm, optimizer, batch):
    def make(plan=ALL_MAMBA, init="calibrated") -> LayerwiseModule:
        teacher = tiny_lm(seed=0)
        student, report = build_student(teacher, plan, init, batch)
        return LayerwiseModule(teacher, student, optimizer, report.fresh_parameter_names)

    return make


def test_the_loss_of_a_layer_is_its_relative_error_on_the_teachers_input(layerwise, batch):
    module = layerwise()
    teacher, student = module._teacher[0], module.model
    losses = module.layer_losses(batch)
    with torch.no_grad(), watch_mixers(teacher) as seen:
        hidden = teacher(
            teacher.embed(batch.ids, batch.kinds), batch.mask, output_hidden=True
        ).layer_hidden
        for i, loss in enumerate(losses):
            x = teacher.embed(batch.ids, batch.kinds) if i == 0 else hidden[i - 1]
            x = x.masked_fill(~batch.mask[:, :, None], 0.0)
            layer = teacher.backbone.layers[i]
            normed = layer.mixer_norm(x)
            wanted = layer.mixer(normed, seen[i].context)[batch.mask]
            found = student.backbone.layers[i].mixer(normed, seen[i].context)[batch.mask]
            expected = (found - wanted).square().mean() / wanted.square().mean()
            assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_layer_does_not_depend_on_what_else_is_converted(layerwise, batch):
    both, last = layerwise(), layerwise(("attention", "mamba"))
    assert last.converted == [1]
    assert torch.equal(both.layer_losses(batch)[1], last.layer_losses(batch)[0])


def test_only_converted_mixers_are_trained(layerwise, train, tmp_path):
    module = layerwise()
    before = {name: t.clone() for name, t in module.model.state_dict().items()}
    run = RunFolder(tmp_path / "run", "student")
    metrics = train(module, run, 20, val_every=10)
    losses = metrics["loss"].dropna()
    assert losses.iloc[-3:].mean() < 0.7 * losses.iloc[:3].mean()
    valid = metrics[metrics["val_loss"].notna()]
    layers = valid[["val_layer_0", "val_layer_1"]].mean(axis=1)
    assert layers.to_numpy() == pytest.approx(valid["val_loss"].to_numpy(), rel=1e-4)
    for name, tensor in load_lm(run.export).state_dict().items():
        assert torch.equal(tensor, before[name]) is (".mixer." not in name), name


def gradients(module, loss):
    module.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def test_the_gradient_is_that_of_the_mean_over_the_layers(layerwise, batch, monkeypatch):
    module = layerwise()
    monkeypatch.setattr(module, "log_training", lambda values, n: None)
    wanted = gradients(module, module.layer_losses(batch).mean())
    loss = module.training_step(batch, 0)
    assert loss.item() == pytest.approx(module.layer_losses(batch).mean().item(), rel=1e-6)
    found = gradients(module, loss)
    assert found.keys() == wanted.keys()
    for name, grad in wanted.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-5, atol=1e-8)


class Held:
    """A tensor that a graph keeps, and the most bytes that all of them had at a time."""

    now = most = 0

    def __init__(self, tensor):
        self.tensor = tensor
        Held.now += tensor.nbytes
        Held.most = max(Held.most, Held.now)

    def __del__(self):
        Held.now -= self.tensor.nbytes


def most_held(module, batch) -> int:
    Held.now = Held.most = 0
    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        module.training_step(batch, 0).backward()
    return Held.most


def test_memory_is_that_of_one_layer(tiny_lm, optimizer, batch, monkeypatch):
    found = {}
    for n_layers in (1, 6):
        teacher = tiny_lm(("attention",) * n_layers, seed=0)
        student, report = build_student(teacher, ("mamba",) * n_layers, "calibrated", batch)
        module = LayerwiseModule(teacher, student, optimizer, report.fresh_parameter_names)
        monkeypatch.setattr(module, "log_training", lambda values, n: None)
        found[n_layers] = most_held(module, batch)
    assert found[6] < 1.5 * found[1]


def test_a_plan_that_converts_nothing_is_refused(tiny_lm, optimizer):
    with pytest.raises(ValueError, match="converts no layer"):
        LayerwiseModule(tiny_lm(), tiny_lm(), optimizer)
