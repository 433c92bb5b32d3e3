"""Generation: equality with a plain full-forward loop, batches, limits, errors."""

import pytest
import torch

from mamtra.lm.generate import generate, generate_batch, length_limits
from mamtra.lm.sampling import Sampling, sample
from mamtra.lm.sequence import build_prompt

TEXT, PROMPT = [3, 4, 5, 6, 7], [8, 9, 10]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def plain_loop(model, text, prompt, seed, fewest, most):
    """No cache, no batching: the whole sequence again for every token."""
    uniforms = torch.rand(most, 2, generator=seeded(seed), dtype=torch.float64)
    tokens = []
    for i in range(most):
        ids, kinds = build_prompt(text, [*prompt, *tokens])
        logits = model(model.embed(ids[None], kinds[None])).logits[:, -1]
        if i < fewest:
            logits[:, model.speech_vocab :] = -torch.inf
        token = int(sample(logits, torch.tensor([tokens]).long(), uniforms[i : i + 1], Sampling()))
        if token >= model.speech_vocab:
            return tokens, False
        tokens.append(token)
    return tokens, True


@torch.no_grad()
@pytest.mark.parametrize("seed", range(4))
def test_equals_recomputing_everything(model, seed):
    result = generate(model, TEXT, PROMPT, seeded(seed), min_ratio=1.0, max_ratio=8.0)
    expected, hit_max = plain_loop(model, TEXT, PROMPT, seed, 5, 40)
    assert result.tokens == expected
    assert result.hit_max == hit_max
    assert all(0 <= token < model.speech_vocab for token in result.tokens)
    assert 5 <= len(result.tokens) <= 40
    assert result.prefill_s > 0 and result.decode_s > 0


def test_a_row_does_not_depend_on_its_neighbours(model):
    texts = [TEXT, [1], list(range(1, 15)), TEXT]
    prompts = [PROMPT, [], [1] * 11, PROMPT]
    seeds = [1, 2, 3, 4]
    together = generate_batch(model, texts, prompts, [seeded(s) for s in seeds])
    for text, prompt, seed, result in zip(texts, prompts, seeds, together, strict=True):
        alone = generate(model, text, prompt, seeded(seed))
        assert result.tokens == alone.tokens
        assert result.hit_max == alone.hit_max
    assert together[0].tokens != together[3].tokens


def test_the_seed_decides(model):
    first, again = (generate(model, TEXT, PROMPT, seeded(7)).tokens for _ in range(2))
    assert first == again
    assert first != generate(model, TEXT, PROMPT, seeded(8)).tokens


def test_length_limits(model):
    with torch.no_grad():
        model.llm_decoder.bias[model.speech_vocab] = 1e4  # wants to stop at once
    result = generate(model, TEXT, PROMPT, seeded(0), min_ratio=2.0, max_ratio=4.0)
    assert len(result.tokens) == 10 and not result.hit_max
    short = generate(model, TEXT, PROMPT, seeded(0), target_length=2, min_ratio=2.0, max_ratio=4.0)
    assert len(short.tokens) == 4
    with torch.no_grad():
        model.llm_decoder.bias[model.speech_vocab :] = -1e4  # never stops
    result = generate(model, TEXT, PROMPT, seeded(0), min_ratio=2.0, max_ratio=4.0)
    assert len(result.tokens) == 20 and result.hit_max
    with pytest.raises(ValueError, match="allow no length"):
        length_limits(1, 0.0, 0.5)
    with pytest.raises(ValueError, match="allow no length"):
        length_limits(5, 2.0, 1.0)


def test_bad_input(model):
    with pytest.raises(ValueError, match="text has no tokens"):
        generate(model, [], PROMPT, seeded(0), target_length=4)
    with pytest.raises(ValueError, match="2 texts, 1 prompts"):
        generate_batch(model, [TEXT, TEXT], [PROMPT], [seeded(0)])
    with pytest.raises(ValueError, match="eval mode"):
        generate(model.train(), TEXT, PROMPT, seeded(0))
