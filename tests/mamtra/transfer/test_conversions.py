"""Every kind of layer that attention can become: a complete map, what is copied, a start that trains."""

import math

import pytest
import torch

from mamtra.transfer.conversions import CONVERSIONS
from mamtra.transfer.gqa_to_mamba import INITS
from mamtra.transfer.pieces import COPIED, FRESH
from mamtra.transfer.student import build_student


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("kind", CONVERSIONS)
def test_every_value_has_one_origin_and_the_student_speaks_and_learns(kind, init, teacher, batch):
    plan = ("attention", kind, "attention", kind)
    student, report = build_student(teacher, plan, init, batch)
    named: dict[str, int] = {}
    for row in report.rows:
        name = row.name.partition("[")[0]
        named[name] = named.get(name, 0) + math.prod(row.shape)
        assert row.status in (COPIED, FRESH)
    assert named == {name: t.numel() for name, t in student.state_dict().items()}
    converted = [row for row in report.rows if ".layers.1.mixer." in row.name]
    copied = sum(math.prod(row.shape) for row in converted if row.status == COPIED)
    assert (copied == 0) == (init in ("xavier", "kaiming"))
    embeds = student.embed(batch.ids, batch.kinds)
    student.requires_grad_(True)
    logits = student(embeds, batch.mask, generated=batch.generated).logits[batch.mask]
    logits.square().mean().backward()
    for name, parameter in student.named_parameters():
        if name.startswith("backbone.layers.1.mixer."):
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("kind", CONVERSIONS)
def test_calibrated_starts_nearer_to_the_teacher_than_random_projections(kind, teacher, batch):
    plan = (kind, "attention", "attention", "attention")
    found = {init: build_student(teacher, plan, init, batch)[1].cosine for init in INITS}
    assert found["calibrated"][0] > found["xavier"][0]
    assert found["calibrated"][0] > 0.5
