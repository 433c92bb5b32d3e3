"""Replayed steps are the plain ones. A stand-in replays by running again, on the same tensors, what was
captured; on a GPU `tests/mamtra/test_gpu.py` does it with real graphs."""

import pytest
import torch

from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm import graphs
from mamtra.lm.generate import generate_batch
from mamtra.lm.speech_lm import SpeechLM
from tests.near import assert_near

A, M, W, G = "attention", "mamba", "window", "deltanet"
TEXTS, PROMPTS = [[3, 4, 5], [1, 2, 6, 7, 8, 9], [4]], [[1], [], [2, 5, 6, 8]]


class Again:
    """What a graph does, without one: the same operations on the same memory."""

    def __init__(self, run, result):
        self.run, self.result, self.replays = run, result, 0

    def replay(self):
        self.result.copy_(self.run())
        self.replays += 1


@pytest.fixture
def captures(monkeypatch):
    """The stand-ins that were made."""
    made = []

    def capture(run):
        for _ in range(graphs.WARM_UP):
            result = run()
        made.append(Again(run, result))
        return made[-1], result

    monkeypatch.setattr(graphs, "capture", capture)
    monkeypatch.setattr(graphs, "BUCKET", 16)
    return made


@pytest.fixture(params=[(A, A), (A, M), (M, M), (A, W), (G, A)], ids="-".join)
def model(request):
    torch.manual_seed(0)
    sizes = BackboneSizes(32, 2, 4, 2, 8, 32, text_rate=0.5, window=6)
    return SpeechLM(sizes, request.param, 12, 30).eval()


def said(model, rows=2):
    generators = [torch.Generator().manual_seed(i) for i in range(3)]
    results = generate_batch(model, TEXTS, PROMPTS, generators, rows=rows)
    return [result.tokens for result in results]


def test_rows_that_come_and_go_say_the_same(model, captures):
    plain = said(model)
    model.graphed = True
    assert said(model) == plain
    assert len(captures) > 1 and sum(one.replays for one in captures) > 0


def test_logits_are_those_of_plain_steps_and_few_captures_serve_many(model, captures):
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    embeds = model.embed(ids, torch.full((2, 3), 2, dtype=torch.int8))
    mask = torch.tensor([[True, True, True], [True, True, False]])
    results = []
    for graphed in (False, True):
        model.graphed = graphed
        state = model.prefill(embeds, mask, max_length=40)[1]
        steps = ((torch.tensor([i % 30, 3]), torch.tensor([i, 2 * i])) for i in range(30))
        results.append(torch.stack([model.step_speech(*step, state) for step in steps]))
        assert state.lengths == [33, 32] and state.offsets.tolist() == [33, 32]
    assert_near(results[1], results[0], 64)
    assert len(captures) == 3, "positions 4 to 33 need 16, 32 and the 40 that there are"


def test_a_full_state_is_refused_before_it_is_written_over(model, captures):
    model.graphed = True
    embeds = model.embed(torch.tensor([[3, 4]]), torch.full((1, 2), 2, dtype=torch.int8))
    state = model.prefill(embeds, max_length=3)[1]
    model.step_speech(torch.tensor([1]), torch.tensor([0]), state)
    with pytest.raises(ValueError, match="4 positions do not fit"):
        model.step_speech(torch.tensor([1]), torch.tensor([1]), state)
    assert state.lengths == [3]
