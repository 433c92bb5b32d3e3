"""Tokens drawn one by one are those of `generate` and of the layouts that models are trained on."""

from dataclasses import replace

import pytest
import torch

from mamtra.lm.generate import generate
from mamtra.lm.sequence import IGNORE, build_bistream, eos_id, fill_id
from mamtra.lm.stream import stream_bistream, stream_tokens

V = 30
GREEDY = {"top_k": 1, "window": 0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("prompt", [[], [1, 2, 3]])
def test_unistream_tokens_are_those_of_generate(model, prompt):
    ratios = {"min_ratio": 1.0, "max_ratio": 8.0}
    for seed in range(5):
        whole = generate(model, [3, 4, 5, 6], prompt, seeded(seed), target_length=3, **ratios)
        # Both draw two numbers per token from the same generator.
        tokens = stream_tokens(model, [3, 4, 5, 6], prompt, seeded(seed), target_length=3, **ratios)
        assert list(tokens) == whole.tokens


@pytest.mark.parametrize("n_prompt", [0, 7, 15, 22])
@pytest.mark.parametrize("pieces", [[23], [1] * 23, [4, 9, 10]])
def test_bistream_tokens_follow_the_training_layout(model, n_prompt, pieces):
    """Every token is the best allowed one under teacher forcing on `build_bistream` of the result."""
    with torch.no_grad():
        model.llm_decoder.bias[fill_id(V)] -= 50  # fill comes when it is forced, not before
    draws = torch.Generator().manual_seed(1)
    text = torch.randint(0, 20, (sum(pieces),), generator=draws)
    prompt = torch.randint(0, V, (n_prompt,), generator=draws)
    spoken = list(
        stream_bistream(model, text.split(pieces), [], prompt, seeded(), min_ratio=3.5, **GREEDY)
    )
    speech = torch.cat((prompt, torch.tensor(spoken)))
    assert len(spoken) >= int(3.5 * 23)
    ids, kinds, targets = build_bistream(text, speech, V)
    logits = model(model.embed(ids[None], kinds[None])).logits[0]
    logits[:, eos_id(V) :] = float("-inf")
    here = (targets != IGNORE) & (targets < V)
    best = logits.argmax(dim=-1)[here]
    n_checked = len(spoken)
    assert best[-n_checked:].tolist() == spoken


def test_a_fill_token_that_is_drawn_asks_for_text(model):
    with torch.no_grad():
        model.llm_decoder.bias[fill_id(V)] += 100
    pieces = [[1, 2, 3], [4, 5], [6]]
    tokens = stream_bistream(model, pieces, [], [], seeded(), min_ratio=0, max_ratio=1, **GREEDY)
    assert list(tokens) == []  # a fill after the first block, then a stop


def test_tokens_come_before_the_text_is_complete(model):
    seen = []

    def pieces():
        for piece in ([1, 2], [3, 4, 5, 6], [7, 8, 9, 10, 11]):
            seen.append(len(piece))
            yield piece

    with torch.no_grad():
        model.llm_decoder.bias[fill_id(V)] -= 50
    tokens = stream_bistream(model, pieces(), [], [], seeded(), max_ratio=9.0)
    next(tokens)
    assert seen == [2, 4]


def test_more_prompt_speech_than_text_follows_the_task(model):
    """Six text tokens take one block of 15; the other 10 prompt tokens must not be lost."""
    prompt = torch.arange(25)
    once = list(stream_bistream(model, [[1, 2, 3, 4, 5, 6]], [], prompt, seeded(), max_ratio=3.0))
    other = prompt.clone()
    other[-1] = 3
    again = list(stream_bistream(model, [[1, 2, 3, 4, 5, 6]], [], other, seeded(), max_ratio=3.0))
    assert once != again


def test_what_cannot_be_streamed_is_refused(model):
    with pytest.raises(ValueError, match="no tokens"):
        list(stream_bistream(model, [], [1, 2], [], seeded()))
    with pytest.raises(ValueError, match="max_length=8"):
        list(stream_bistream(model, [[1] * 9], [], [], seeded(), max_length=8))
    with pytest.raises(ValueError, match="allow no length"):
        next(stream_bistream(model, [[1] * 9], [], [], seeded(), min_ratio=3.0, max_ratio=2.0))
    with pytest.raises(ValueError, match="eval mode"):
        list(stream_tokens(model.train(), [1], [], seeded(), target_length=1))
    model.eval().sizes = replace(model.sizes, text_rate=0.7)
    with pytest.raises(ValueError, match="text_rate"):
        list(stream_bistream(model, [[1]], [], [], seeded()))
