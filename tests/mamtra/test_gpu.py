"""What runs on a GPU is what runs on a CPU: values, gradients, steps and tokens. Skipped without one."""

import copy

import pytest
import torch

from mamtra.backbone.layer_plan import layer_plan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.generate import generate_batch
from mamtra.lm.sequence import KIND_SPEECH
from mamtra.lm.speech_lm import SpeechLM
from mamtra.lm.stream import stream_tokens

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GREEDY = {"top_k": 1, "window": 0}
# Of the largest value. The fused kernel multiplies in TF32: 10 bits of mantissa.
TOLERANCE = {torch.float32: 5e-3, torch.bfloat16: 5e-2}


@pytest.fixture(params=["1:0", "1:1", "0:1"])
def model(request):
    torch.manual_seed(0)
    sizes = BackboneSizes(128, 2, 4, 2, 32, 256, rope_theta=1e4, text_rate=0.5)
    return SpeechLM(sizes, layer_plan(2, request.param, "blockbeg"), 20, 30).eval()


def inputs(model, length=40):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(20, (3, length), generator=generator)
    kinds = torch.full((3, length), KIND_SPEECH, dtype=torch.int8)
    mask = torch.arange(length)[None] < torch.tensor([[length], [length - 7], [5]])
    return ids.to(model.device), kinds.to(model.device), mask.to(model.device)


def distance(found, expected):
    return float((found.detach().float().cpu() - expected.detach().float().cpu()).abs().max())


def near(found, expected, dtype, more=0.0):
    scale = float(expected.detach().float().abs().max())
    assert distance(found, expected) <= TOLERANCE[dtype] * scale + more


def values_and_gradients(model, dtype, padded):
    """Logits of the valid positions, and the gradient of every parameter by a loss of them."""
    ids, kinds, mask = inputs(model)
    with torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32):
        logits = model(model.embed(ids, kinds), mask if padded else None).logits
    valid = logits[mask] if padded else logits
    valid.float().square().mean().backward()
    return [valid, *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padded", [False, True])
def test_values_and_gradients(model, dtype, padded):
    """In bf16 some gradients are small differences of large sums: a CPU's own are up to 0.4 of the largest
    value from those in fp32, and a GPU's may be three times as far."""
    moved, rounded = copy.deepcopy(model).cuda(), copy.deepcopy(model)
    exact = values_and_gradients(model, torch.float32, padded)
    on_cpu = values_and_gradients(rounded, dtype, padded)
    for expected, here, found in zip(
        exact, on_cpu, values_and_gradients(moved, dtype, padded), strict=True
    ):
        near(found, expected, dtype, 3 * distance(here, expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_prefill_and_steps_are_the_whole(model, dtype):
    model = model.to("cuda", dtype)
    ids, kinds, _ = inputs(model)
    with torch.inference_mode():
        expected = model(model.embed(ids, kinds)).logits
        logits, state = model.prefill(model.embed(ids[:, :30], kinds[:, :30]), max_length=40)
        near(logits, expected[:, 29], dtype)
        for t in range(30, 40):
            spoken = torch.full((3,), t, device="cuda")
            near(model.step_speech(ids[:, t], spoken, state), expected[:, t], dtype)


def test_batches_and_streams_say_what_a_cpu_says(model):
    texts, prompts = [[3, 4, 5], [1], list(range(1, 15))], [[8, 9], [], [1] * 11]
    moved = copy.deepcopy(model).cuda()
    said = [
        generate_batch(one, texts, prompts, [torch.Generator() for _ in texts], rows=2, **GREEDY)
        for one in (model, moved)
    ]
    assert [row.tokens for row in said[0]] == [row.tokens for row in said[1]]
    streamed = stream_tokens(
        moved, texts[0], prompts[0], torch.Generator(), target_length=3, **GREEDY
    )
    assert list(streamed) == said[0][0].tokens


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_graphs_say_what_plain_steps_say(model, dtype):
    texts, prompts = [[3, 4, 5], [1], list(range(1, 15))], [[8, 9], [], [1] * 11]
    model = model.to("cuda", dtype)
    said = []
    for graphed in (False, True):
        model.graphed = graphed
        generators = [torch.Generator().manual_seed(i) for i in range(3)]
        rows = generate_batch(model, texts, prompts, generators, rows=2, **GREEDY)
        said.append([row.tokens for row in rows])
    assert said[0] == said[1]
