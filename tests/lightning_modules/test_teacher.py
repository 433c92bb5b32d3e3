"""The teacher's corrupted input."""

import pytest
import torch

from lightning_modules.teacher import TeacherModule, corrupt
from mamtra.lm.sequence import KIND_SPEECH


@pytest.fixture
def batch(datamodule):
    return next(iter(datamodule().val_dataloader()))


def test_only_speech_tokens_change_and_into_tokens_of_the_batch(batch):
    torch.manual_seed(0)
    before, found = batch.ids.clone(), corrupt(batch, 0.5)
    speech = batch.kinds == KIND_SPEECH
    assert torch.equal(batch.ids, before), "the batch itself stays"
    assert torch.equal(found[~speech], before[~speech])
    changed = (found[speech] != before[speech]).float().mean()
    assert 0.25 < changed < 0.55, "half are drawn, and some draws give the same token"
    assert set(found[speech].tolist()) <= set(before[speech].tolist())


def test_nothing_changes_at_probability_zero(batch):
    assert torch.equal(corrupt(batch, 0.0), batch.ids)


def test_corruption_is_for_training_only(batch, tiny_lm, optimizer):
    module = TeacherModule(tiny_lm(), optimizer, corruption=0.9)
    torch.manual_seed(0)
    noisy, targets = module.target_logits(batch)
    clean, same_targets = module.eval().target_logits(batch)
    again, _ = module.target_logits(batch)
    assert torch.equal(clean, again) and not torch.allclose(noisy, clean)
    assert torch.equal(targets, same_targets)


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_corruption_that_is_no_probability_is_an_error(tiny_lm, optimizer, value):
    with pytest.raises(ValueError, match="corruption is a probability below 1"):
        TeacherModule(tiny_lm(), optimizer, corruption=value)
