"""The student speaks, the teacher judges: what is scored, who learns, and that it repeats."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from data.datamodule import SequenceDataset, collate_named
from lightning_modules.distill import DistillModule, Objective
from lightning_modules.objectives import skew_kl
from lightning_modules.rollouts import OnPolicy, speak
from lightning_modules.run_folder import RunFolder
from lightning_modules.stopping import Interrupted
from mamtra.lm.checkpoint import load_lm
from mamtra.lm.sequence import IGNORE, KIND_SPEECH, KIND_TEXT, eos_id
from tests.lightning_modules.test_checkpoints import SignalAt, curves
from tests.near import assert_near

FULL = Objective(1.0, 1.0, 1.0, "last_hidden", "forward", 0.1, {})
HALF = OnPolicy(share=0.5, direction="reverse", alpha=0.1, longest=1.5)
CODES = 11


@pytest.fixture
def distill(tiny_lm, optimizer):
    """Makes a module whose student speaks in half of the steps; dropout makes every step random."""

    def make(seed=1, on_policy: OnPolicy | None = HALF) -> DistillModule:
        student = tiny_lm(("attention", "mamba"), seed=seed, dropout=0.1)
        return DistillModule(tiny_lm(seed=0), student, FULL, optimizer, on_policy=on_policy)

    return make


@pytest.fixture
def batch(datamodule):
    """Pairs and single utterances."""
    dataset = SequenceDataset(datamodule().train_table, CODES)
    members = [(0, 1), (2,), (3, 4), (5,), (6, 7), (8,), (9, 10), (11,)]
    return collate_named([dataset[(rows, False)] for rows in members])


def stops(model, more: float):
    """The model with so much more of a mind to stop."""
    with torch.no_grad():
        model.llm_decoder.bias[eos_id(CODES) :] += more
    return model


def parts(batch, row):
    """Text ids, speech ids and drawn targets of a row."""
    ids, kinds, targets = batch.ids[row], batch.kinds[row], batch.targets[row]
    drawn = targets[targets != IGNORE].tolist()
    return ids[kinds == KIND_TEXT].tolist(), ids[kinds == KIND_SPEECH].tolist(), drawn


def test_a_row_keeps_text_and_prompt_and_only_what_is_drawn_is_scored(distill, batch):
    torch.manual_seed(0)
    said = speak(stops(distill().model, -1.5), batch, longest=1.5)
    assert (batch.n_prompt > 0).any() and (batch.n_prompt == 0).any()
    ended = []
    for row, start in enumerate(batch.n_prompt.tolist()):
        text, speech, _ = parts(batch, row)
        own_text, own_speech, drawn = parts(said, row)
        assert own_text == text and own_speech[:start] == speech[:start]
        tokens = own_speech[start:]
        ended.append(drawn[-1] == eos_id(CODES))
        assert drawn == (tokens + [eos_id(CODES)] if ended[-1] else tokens)
        assert ended[-1] or len(tokens) == int(1.5 * (len(speech) - start))
    assert len(set(ended)) == 2, "some rows stop by themselves and some at the limit"
    assert (said.targets[~said.mask] == IGNORE).all()


def test_one_that_says_nothing_is_scored_for_stopping(distill, batch):
    module = distill()
    said = speak(stops(module.model, 50.0), batch, longest=1.5)
    whole = range(len(batch.utterances))
    assert [parts(said, row)[2] for row in whole] == [[eos_id(CODES)]] * len(whole)
    assert [len(parts(said, row)[1]) for row in whole] == batch.n_prompt.tolist()
    loss = module.divergence(said, "reverse", 0.1)
    loss.backward()
    assert torch.isfinite(loss) and loss > 0
    assert all(
        torch.isfinite(p.grad).all() for p in module.model.parameters() if p.grad is not None
    )


def test_one_that_never_stops_is_cut_and_not_blamed_for_the_next_token(distill, batch):
    said = speak(stops(distill().model, -50.0), batch, longest=1.0)
    assert not (said.targets >= CODES).any()
    assert said.mask.sum() == batch.mask.sum()


def test_speaking_is_without_gradient_or_dropout_and_leaves_the_mode(distill, batch):
    model = distill().model
    torch.manual_seed(3)
    first = speak(model, batch, 1.5)
    assert model.training and not first.ids.is_inference()
    torch.manual_seed(3)
    second = speak(model.eval(), batch, 1.5)
    assert not model.training and torch.equal(first.ids, second.ids)
    torch.manual_seed(4)
    assert not torch.equal(first.targets, speak(model, batch, 1.5).targets)


def test_under_autocast_it_speaks_in_the_precision_of_the_weights(distill, batch):
    model = distill().model
    torch.manual_seed(3)
    first = speak(model, batch, 1.5)
    torch.manual_seed(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(speak(model, batch, 1.5).ids, first.ids)


def test_the_divergence_is_that_of_what_was_drawn(distill, batch):
    module = distill()
    module.model.eval()
    said = speak(module.model, batch, 1.5)
    here = said.targets != IGNORE
    logits = [
        model(model.embed(said.ids, said.kinds), said.mask).logits
        for model in (module.teacher, module.model)
    ]
    for direction in ("reverse", "forward"):
        expected = skew_kl(*logits, here, direction, 0.2)
        assert_near(module.divergence(said, direction, 0.2), expected, 8)


def test_nothing_scored_is_zero_with_zero_gradients(distill, batch):
    module = distill()
    nothing = replace(batch, targets=torch.full_like(batch.targets, IGNORE))
    loss = module.divergence(nothing, "reverse", 0.1)
    loss.backward()
    gradients = [p.grad for p in module.model.parameters() if p.grad is not None]
    assert loss.item() == 0 and gradients and all(not g.any() for g in gradients)


def test_only_the_student_learns_and_as_if_the_words_were_given(distill, batch, monkeypatch):
    module = distill()
    module.model.eval()  # no dropout, so that both passes are one
    monkeypatch.setattr(module, "log_dict", lambda *a, **b: None)
    monkeypatch.setattr(DistillModule, "global_step", 1)
    torch.manual_seed(7)
    loss = module.training_step(batch, 0)
    loss.backward()
    found = {name: p.grad.clone() for name, p in module.model.named_parameters()}
    assert all(p.grad is None for p in module.teacher.parameters())
    module.zero_grad()
    torch.manual_seed(7)
    given = speak(module.model, batch, HALF.longest)
    module.divergence(given, "reverse", 0.1).backward()
    for name, parameter in module.model.named_parameters():
        assert torch.equal(found[name], parameter.grad)
    assert found["llm_decoder.bias"].any()


def test_the_steps_it_speaks_in(distill):
    quarter = replace(HALF, share=0.25)
    assert [step for step in range(12) if quarter.is_due(step)] == [3, 7, 11]
    assert all(replace(HALF, share=1.0).is_due(step) for step in range(5))
    assert not any(replace(HALF, share=0.0).is_due(step) for step in range(5))
    assert "on_policy" not in distill(on_policy=replace(HALF, share=0.0)).metric_names


def test_interrupted_and_resumed_equals_uninterrupted(distill, train, callback, tmp_path):
    whole, resumed = (RunFolder(tmp_path / name, "student") for name in ("whole", "parts"))
    expected = train(distill(), whole, 8)
    own = expected.set_index("step")["on_policy"].dropna()
    assert list(own.index) == [2, 4, 6, 8]
    rows = expected[expected["loss"].notna()].set_index("step")
    assert rows.loc[own.index, "ce"].isna().all() and rows["ce"].notna().sum() == 4
    assert (rows.loc[own.index, "loss"] == own).all()
    callback(SignalAt(3))
    with pytest.raises(Interrupted):
        train(distill(), resumed, 8)
    found = train(distill(seed=9), resumed, 8)
    pd.testing.assert_frame_equal(curves(expected), curves(found))
    second = load_lm(resumed.export).state_dict()
    assert all(torch.equal(v, second[n]) for n, v in load_lm(whole.export).state_dict().items())


def test_rows_of_the_log_average_the_steps_that_have_a_term(distill, train, tmp_path):
    fine = train(distill(), RunFolder(tmp_path / "fine", "student"), 4)
    rough = train(distill(), RunFolder(tmp_path / "rough", "student"), 4, log_every=4)
    fine, rough = (m[m["loss"].notna()] for m in (fine, rough))
    for name in ("loss", "ce", "on_policy", "grad_norm"):
        # The file has six digits.
        assert rough[name].item() == pytest.approx(fine[name].mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share": -0.1}, "on_policy.share"),
        ({"direction": "sideways"}, "forward, reverse"),
        ({"alpha": 1.0}, "on_policy.alpha"),
        ({"longest": 0.5}, "on_policy.longest"),
    ],
)
def test_settings_without_meaning_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(HALF, **changes)


def test_a_batch_that_does_not_say_where_to_begin(distill, batch):
    with pytest.raises(ValueError, match="n_prompt"):
        speak(distill().model, replace(batch, n_prompt=None), 1.5)
