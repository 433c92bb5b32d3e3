"""The token loop: rows that wait, join, leave and fail, each as if it were alone."""

import copy

import pytest
import torch

from mamtra.lm.engine import UNIFORMS_AHEAD, Engine
from mamtra.lm.generate import generate, generate_batch
from mamtra.lm.rows import Sentence
from mamtra.lm.sampling import Sampling, sample
from mamtra.lm.speech_lm import SpeechLM
from tests.near import assert_near

TEXTS = [[3, 4, 5], [1], list(range(1, 15)), [7, 7], [2, 9, 4, 4, 6], [11] * 8, [5, 6]]
PROMPTS = [[8, 9], [], [1] * 11, [4], [2, 3], [], [6] * 5]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def sentences(model, most=12):
    return [
        Sentence(text, prompt, seeded(i), (2, most + 3 * i), model.speech_vocab)
        for i, (text, prompt) in enumerate(zip(TEXTS, PROMPTS, strict=True))
    ]


def run(model, rows, capacity):
    engine = Engine(
        model, Sampling(), capacity=capacity, max_length=max(row.max_length for row in rows)
    )
    engine.add(rows)
    while engine.draw():
        assert len(engine.rows) <= capacity
    return engine


@pytest.mark.parametrize("capacity", [1, 2, 3, 7])
def test_rows_that_wait_for_room_say_what_they_say_alone(model, capacity):
    rows = sentences(model)
    engine = run(model, rows, capacity)
    for row, alone in zip(rows, sentences(model), strict=True):
        run(model, [alone], 1)
        assert (row.tokens, row.hit_max) == (alone.tokens, alone.hit_max)
    assert len({tuple(row.tokens) for row in rows}) == len(rows)
    # A draw that ends a row is the only one that makes no token.
    kept = sum(len(row.tokens) + (not row.hit_max) for row in rows)
    assert engine.row_steps == kept
    assert not engine.rows and not engine.waiting


def test_short_rows_cost_nothing_once_they_are_done(model):
    """Seven rows of one text token and one of forty: padded rows would compute six times as much."""
    with torch.no_grad():
        model.llm_decoder.bias[model.speech_vocab :] = -1e4
    rows = [
        Sentence([1], [], seeded(i), (1, 40 if i == 3 else 6), model.speech_vocab) for i in range(8)
    ]
    engine = run(model, rows, 8)
    tokens = sum(len(row.tokens) for row in rows)
    assert tokens == 7 * 6 + 40
    assert engine.row_steps <= 1.1 * tokens


def stepped(model, n_steps=5):
    """(n_steps, 2, V+3) logits of two rows that continue a prompt."""
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    embeds = model.embed(ids, torch.full((2, 3), 2, dtype=torch.int8))
    state = model.prefill(embeds, max_length=12)[1]
    steps = ((torch.tensor([i, 3 * i]), torch.tensor([3 + i, 3 + i])) for i in range(n_steps))
    return torch.stack([model.step_speech(*step, state).float() for step in steps])


@pytest.mark.slow
def test_compiled_steps_draw_the_same_tokens(model):
    plain = [generate(model, TEXTS[2], PROMPTS[2], seeded(i)).tokens for i in range(2)]
    exact = stepped(model)
    rough = copy.deepcopy(model).bfloat16()
    error = float((stepped(rough) - exact).abs().max())
    for compiled in (model, rough):
        compiled.compile_steps()
    # fp32: the rounding of other summation orders. bf16: fused operations round less often than plain ones.
    assert_near(stepped(model), exact, 64)
    assert float((stepped(rough) - exact).abs().max()) <= 2 * error
    again = [generate(model, TEXTS[2], PROMPTS[2], seeded(i)).tokens for i in range(2)]
    assert again == plain


def test_without_a_compiler_the_error_says_so(model, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="no C\\+\\+ compiler"):
        model.compile_steps()


def test_a_row_of_nan_fails_alone(model):
    with torch.no_grad():
        model.text_embedding.weight[19] = float("nan")
    texts, prompts = [[3, 4], [19, 2], [5, 6, 7]], [[1], [2], []]
    results = generate_batch(model, texts, prompts, [seeded(i) for i in range(3)])
    assert [result.failed for result in results] == [False, True, False]
    for i in (0, 2):
        assert results[i].tokens == generate(model, texts[i], prompts[i], seeded(i)).tokens
    with pytest.raises(ValueError, match="nothing can be drawn"):
        generate(model, texts[1], prompts[1], seeded(1))


def test_random_numbers_go_on_after_those_drawn_ahead(model):
    """What one step draws must not depend on how many are drawn ahead."""
    with torch.no_grad():
        model.llm_decoder.bias[model.speech_vocab :] = -1e4
        for parameter in model.backbone.parameters():
            parameter.zero_()  # no memory: every draw is of one distribution
        model.llm_decoder.weight.zero_()
    n = UNIFORMS_AHEAD + 40
    row = Sentence([1], [], seeded(3), (1, n), model.speech_vocab)
    engine = Engine(model, Sampling(window=0), capacity=1, max_length=row.max_length)
    engine.add([row])
    while engine.draw():
        pass
    uniforms = torch.rand(n, 2, generator=seeded(3), dtype=torch.float64)
    logits = model.llm_decoder.bias.detach().expand(n, -1)
    expected = sample(logits, torch.empty(n, 0).long(), uniforms, Sampling(window=0))
    assert row.tokens == expected.tolist()


def test_at_most_so_many_rows_at_a_time(model):
    generators = [[seeded(i) for i in range(7)] for _ in range(2)]
    together = generate_batch(model, TEXTS, PROMPTS, generators[0])
    in_turn = generate_batch(model, TEXTS, PROMPTS, generators[1], rows=2)
    assert [r.tokens for r in together] == [r.tokens for r in in_turn]


def test_a_row_of_another_model_is_refused(model):
    other = SpeechLM(model.sizes, ("mamba", "mamba"), 20, 30).eval()
    state, wrong = model.new_state(2, 20), other.new_state(1, 5)
    with pytest.raises(ValueError, match="other layers or sizes"):
        state.take_row(0, wrong, 0)
    long = model.new_state(1, 30)
    long.lengths = [25]
    with pytest.raises(ValueError, match="does not fit in 20"):
        state.take_row(0, long, 0)


def halfway(model, row, n_draws, **others):
    """A snapshot of `row` after some draws, and the engine that goes on with it."""
    engine = Engine(model, Sampling(), capacity=3, max_length=80)
    engine.add([row, *others.values()])
    for _ in range(n_draws):
        engine.draw()
    return engine.snapshot(row), engine


@pytest.mark.parametrize("n_draws", [1, 7])
def test_a_row_goes_on_from_a_snapshot_elsewhere(model, n_draws):
    with torch.no_grad():
        model.llm_decoder.bias[model.speech_vocab :] = -1e4
    row, beside = (Sentence([3, i], [8], seeded(i), (20, 20), 30) for i in (1, 2))
    snapshot, engine = halfway(model, row, n_draws, beside=beside)
    assert snapshot.state.lengths == [row.n_prompt + n_draws - 1]
    other = Engine(model, Sampling(), capacity=2, max_length=60)
    other.add(
        [Sentence([9] * 9, [], seeded(9), (5, 5), 30), Sentence([4], [], seeded(4), (6, 6), 30)]
    )
    twins = [other.restore(snapshot) for _ in range(3)]
    for running in (other, engine):
        while running.draw():
            assert len(running.rows) <= running.capacity
    assert len(row.tokens) == len(beside.tokens) == 20
    assert [twin.tokens for twin in twins] == [row.tokens] * 3 and row.tokens != beside.tokens


def test_a_snapshot_holds_the_bytes_of_its_tokens(model):
    row = Sentence([3, 1], [8], seeded(1), (20, 20), 30)
    snapshot, _ = halfway(model, row, 4)
    state = model.new_state(1, row.n_prompt + 3)
    table = state.cos.nbytes + state.sin.nbytes
    small = UNIFORMS_AHEAD * 2 * 8 + Sampling.window * 8 + 8
    assert snapshot.num_bytes() == state.num_bytes() - table + small


def test_a_snapshot_of_another_model_is_refused(model):
    row = Sentence([3, 1], [8], seeded(1), (20, 20), 30)
    snapshot, engine = halfway(model, row, 4)
    with pytest.raises(ValueError, match="only a row that is being decoded"):
        engine.snapshot(Sentence([3], [], seeded(1), (2, 3), 30))
    with pytest.raises(ValueError, match="does not fit in 5"):
        Engine(model, Sampling(), capacity=1, max_length=5).restore(snapshot)
    with pytest.raises(ValueError, match="window=10, this engine samples with window=4"):
        Engine(model, Sampling(window=4), capacity=1, max_length=60).restore(snapshot)
    trained, half = copy.deepcopy(model), copy.deepcopy(model).bfloat16()
    with torch.no_grad():
        trained.backbone.layers[1].mixer.out_proj.weight.mul_(1.001)
    for other in (trained, half):
        with pytest.raises(ValueError, match="of another model"):
            Engine(other, Sampling(), capacity=1, max_length=60).restore(snapshot)
