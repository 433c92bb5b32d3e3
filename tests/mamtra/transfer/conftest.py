"""A random all-attention teacher and a batch."""

import pytest
import torch

from mamtra.backbone.layer_plan import layer_plan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.sequence import build_sequence, collate
from mamtra.lm.speech_lm import SpeechLM


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    sizes = BackboneSizes(48, 4, 6, 2, 8, 64, rope_theta=1e4, chunk=16)
    made = SpeechLM(sizes, layer_plan(4, "1:0", "front"), 20, 30).eval()
    with torch.no_grad():
        for layer in made.backbone.layers:
            layer.mixer.qkv_proj.bias.normal_(std=0.3)
            layer.mixer.out_proj.weight.mul_(3.0)
    return made


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(0)
    rows = [
        build_sequence(
            torch.randint(0, 20, (8,), generator=g), torch.randint(0, 30, (n,), generator=g), 30
        )
        for n in (40, 25)
    ]
    return collate(rows, ["a", "b"])
