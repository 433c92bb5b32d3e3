"""A learning rate is for a batch: another one is refused, with what keeps it."""

from dataclasses import replace

import pytest

from lightning_modules.trainer_settings import check_global_batch
from tests.lightning_modules.conftest import TRAINER


def test_a_step_is_said_and_one_that_fits_passes():
    four = replace(TRAINER, devices=2, accumulate=2, global_tokens=160_000)
    assert check_global_batch(four, 40_000, 1e-5) == (
        "a step: up to 160000 positions (40000 x 4), learning rate 1e-05"
    )
    assert "up to 500" in check_global_batch(TRAINER, 500, 1e-3)


@pytest.mark.parametrize(
    ("devices", "max_tokens", "advice"),
    [
        (2, 40_000, r"makes 80000: trainer\.accumulate=2 keeps it"),
        (1, 20_000, r"makes 20000: trainer\.accumulate=8 keeps it"),
        (3, 40_000, r"makes 120000: trainer\.global_tokens=120000 states it"),
    ],
)
def test_another_batch_is_refused(devices, max_tokens, advice):
    settings = replace(TRAINER, devices=devices, global_tokens=160_000)
    with pytest.raises(ValueError, match=rf"lr=1e-05 is for 160000 positions a step.*{advice}"):
        check_global_batch(settings, max_tokens, 1e-5)
