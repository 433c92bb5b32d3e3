"""A random model small enough for every test."""

import pytest
import torch

from mamtra.backbone.layer_plan import layer_plan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.speech_lm import SpeechLM


@pytest.fixture(params=["1:0", "1:1"])
def model(request):
    torch.manual_seed(0)
    sizes = BackboneSizes(32, 2, 4, 2, 8, 48, rope_theta=1e4, chunk=8)
    made = SpeechLM(sizes, layer_plan(2, request.param, "blockbeg"), 20, 30).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return made
