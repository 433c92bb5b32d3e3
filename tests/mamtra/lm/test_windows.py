"""Window layers in a language model: training sees of a sequence what decoding sees of it."""

import pytest
import torch

from mamtra.backbone.layer_plan import parse_plan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.generate import generate
from mamtra.lm.sequence import KIND_SPEECH, build_bistream, build_sequence, collate
from mamtra.lm.speech_lm import SpeechLM
from mamtra.lm.stream import stream_bistream
from tests.near import assert_near

TEXT, SPEECH, LIMIT = 20, 30, 64


@pytest.fixture(params=["WW", "AW", "MW"])
def model(request):
    torch.manual_seed(0)
    sizes = BackboneSizes(32, 2, 4, 2, 8, 48, rope_theta=1e4, chunk=8, window=4)
    made = SpeechLM(sizes, parse_plan(request.param), TEXT, SPEECH).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return made


def ids(limit, n, seed):
    return torch.randint(limit, (n,), generator=torch.Generator().manual_seed(seed))


def forward(model, sequence, prompted):
    batch = collate([sequence], ["u"], n_prompt=[prompted])
    embeds = model.embed(batch.ids, batch.kinds)
    return model(embeds, batch.mask, generated=batch.generated).logits[0]


@pytest.mark.parametrize("prompted", [0, 3])
def test_logits_of_a_sequence_are_those_of_its_steps(model, prompted):
    text, speech = ids(TEXT, 6, 1), ids(SPEECH, 15, 2)
    sequence = build_sequence(text, speech, SPEECH)
    expected = forward(model, sequence, prompted)
    embeds = model.embed(sequence[0][None], sequence[1][None])
    start = 2 + len(text) + prompted
    first, state = model.prefill(embeds[:, :start], max_length=40)
    found = [first] + [model.step(embeds[:, i : i + 1], state)[:, 0] for i in range(start, 23)]
    assert_near(torch.cat(found), expected[start - 1 :], LIMIT)
    assert not torch.allclose(expected, forward(model, sequence, 15)), "no window was in effect"


def test_text_that_comes_in_between_stays(model):
    sequence = build_bistream(ids(TEXT, 12, 1), ids(SPEECH, 50, 2), SPEECH)
    expected = forward(model, sequence, 0)
    kinds = sequence[1][None]
    embeds = model.embed(sequence[0][None], kinds)
    logits, state = model.prefill(embeds[:, :6], max_length=80)
    found, at = [logits], 6
    while at < kinds.shape[1]:
        end = at + 1
        while end < kinds.shape[1] and kinds[0, end - 1] != KIND_SPEECH:
            end += 1  # text is fed with the speech token after it
        told = kinds[:, at:end] == KIND_SPEECH
        found.append(model.step(embeds[:, at:end], state, told)[0])
        at = end
    assert_near(torch.cat(found), expected[5:], LIMIT)


def test_generation_and_text_in_pieces_keep_the_state_small(model):
    def speak():
        return torch.Generator().manual_seed(0)

    result = generate(model, ids(TEXT, 9, 1), ids(SPEECH, 5, 2), speak(), min_ratio=5.0)
    assert len(result.tokens) >= 45
    pieces = [ids(TEXT, 7, 3), ids(TEXT, 6, 4)]
    assert list(stream_bistream(model, pieces, [], [], speak(), min_ratio=4.0))
