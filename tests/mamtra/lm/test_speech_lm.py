"""SpeechLM: embedding tables, output shapes, decode state, dropout."""

import pytest
import torch
from torch.nn import functional as F

from mamtra.lm.sequence import build_prompt, build_sequence, collate
from mamtra.lm.speech_lm import SpeechLM
from tests.near import assert_near


def batch_of(*lengths):
    rows = [build_sequence(range(1, 4), [i % 30 for i in range(n)], 30) for n in lengths]
    return collate(rows, [str(n) for n in lengths])


def test_each_kind_reads_its_own_table(model):
    batch = batch_of(2, 1)
    embeds = model.embed(batch.ids, batch.kinds)
    row = [
        model.llm_embedding.weight[0],
        *model.text_embedding.weight[1:4],
        model.llm_embedding.weight[1],
        model.speech_embedding.weight[0],
    ]
    assert torch.equal(embeds[1, :6], torch.stack(row))
    assert not bool(embeds[1, 6:].any())
    assert torch.equal(embeds[0, 6], model.speech_embedding.weight[1])


def test_ids_outside_their_table_are_refused(model):
    kinds = torch.ones(1, 1, dtype=torch.int8)
    with pytest.raises(IndexError):
        model.embed(torch.tensor([[20]]), kinds)


def test_forward_shapes_and_hidden(model):
    batch = batch_of(9, 4)
    out = model(model.embed(batch.ids, batch.kinds), batch.mask, output_hidden=True)
    b, t = batch.ids.shape
    assert out.logits.shape == (b, t, 33)
    assert out.last_hidden.shape == (b, t, 32)
    assert len(out.layer_hidden) == 2
    normed = F.rms_norm(out.layer_hidden[-1], (32,), model.backbone.norm.weight, 1e-6)
    assert_near(normed, out.last_hidden, 8)
    assert_near(model.llm_decoder(out.last_hidden), out.logits, 8)
    assert model(model.embed(batch.ids, batch.kinds), batch.mask).layer_hidden is None


def test_prefill_returns_the_last_valid_logits_and_steps_continue(model):
    rows = [build_prompt([1, 2, 3], [4, 5]), build_prompt([6], [])]
    ids = torch.nn.utils.rnn.pad_sequence([r[0] for r in rows], batch_first=True)
    kinds = torch.nn.utils.rnn.pad_sequence([r[1] for r in rows], True, padding_value=-1)
    logits, state = model.prefill(model.embed(ids, kinds), kinds >= 0, max_length=20)
    new = torch.randint(0, 30, (2, 3))
    stepped = model.step(model.speech_embedding(new), state)
    for i, (row_ids, row_kinds) in enumerate(rows):
        row_ids = torch.cat((row_ids, new[i]))[None]
        row_kinds = torch.cat((row_kinds, torch.full((3,), 2, dtype=torch.int8)))[None]
        expected = model(model.embed(row_ids, row_kinds)).logits[0]
        assert_near(logits[i], expected[-4], 32)
        assert_near(stepped[i], expected[-3:], 32)


def test_dropout_acts_only_in_training(model):
    noisy = SpeechLM(model.sizes, model.plan, 20, 30, dropout=0.5)
    batch = batch_of(6)
    embeds = noisy.embed(batch.ids, batch.kinds)
    assert not torch.equal(noisy.train()(embeds).logits, noisy(embeds).logits)
    assert torch.equal(noisy.eval()(embeds).logits, noisy(embeds).logits)


def test_initial_residual_stream_keeps_its_scale(model):
    fresh = SpeechLM(model.sizes, model.plan, 20, 30).eval()
    batch = batch_of(20)
    hidden = fresh(fresh.embed(batch.ids, batch.kinds), output_hidden=True).layer_hidden
    assert 0.3 < hidden[-1].std() / hidden[0].std() < 3


def test_bad_vocabularies(model):
    with pytest.raises(ValueError, match="text_vocab=0"):
        SpeechLM(model.sizes, model.plan, 0, 30)
