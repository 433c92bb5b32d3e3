"""Tiny models of every arm."""

import pytest
import torch

from mamtra.mvc.model import MVC, build
from mamtra.mvc.sizes import MVCSizes
from mamtra.mvc.voice import Voices
from tests.small_mvc import TINY


@pytest.fixture
def tiny() -> MVCSizes:
    return TINY


@pytest.fixture
def make():
    """A model of an arm whose every weight is random, also where training starts from 0, so that everything is
    at work."""

    def made(arm: str, sizes: MVCSizes = TINY, seed: int = 0) -> MVC:
        torch.manual_seed(seed)
        model = build(sizes, arm).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "film" in name or "decoder.outlet" in name:
                    parameter.normal_(std=0.2)
        return model

    return made


@pytest.fixture
def voices() -> Voices:
    return Voices(torch.nn.functional.normalize(torch.randn(3, 6, generator=_generator()), dim=-1))


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)
