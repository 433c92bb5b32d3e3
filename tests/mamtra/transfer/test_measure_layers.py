"""Importance scores against their definitions, computed another way."""

import json

import pytest
import torch

from mamtra.lm.checkpoint import model_sha256, save_lm
from mamtra.lm.sequence import IGNORE, KIND_SPEECH
from mamtra.transfer.measure_layers import (
    changed,
    cosine_samples,
    kl_samples,
    one_layer_plan,
    restored_plan,
)
from mamtra.transfer.scores import ImportanceScores, LayerScore, load_scores
from tests.near import assert_near


def hidden_states(model, batch):
    embeds = model.embed(batch.ids, batch.kinds)
    states = model(embeds, batch.mask, output_hidden=True).layer_hidden
    return [embeds.masked_fill(~batch.mask[:, :, None], 0.0), *states]


@torch.no_grad()
def test_cosine_of_blocks_over_speech_positions(teacher, batch):
    samples = cosine_samples(teacher, [batch, batch])
    states = hidden_states(teacher, batch)
    here = (batch.kinds == KIND_SPEECH) & batch.mask
    for i, score in enumerate(samples.scores):
        a, b = states[i][here].double(), states[i + 1][here].double()
        cosine = (a * b).sum(-1) / a.norm(dim=-1) / b.norm(dim=-1)
        assert score == pytest.approx(1 - cosine.mean().item(), abs=1e-6)
    assert samples.sums.shape == (4, 4) and samples.counts.tolist() == [40, 25, 40, 25]


@torch.no_grad()
def test_cosine_of_mixers_is_zero_where_the_mixer_adds_nothing(teacher, batch):
    teacher.backbone.layers[2].mixer.out_proj.weight.zero_()
    scores = cosine_samples(teacher, [batch], part="mixer").scores
    assert scores[2] == pytest.approx(0, abs=1e-9) and min(scores[:2]) > 1e-3


def test_the_first_speech_tokens_can_be_left_out(teacher, batch):
    whole, samples = (cosine_samples(teacher, [batch], skip=skip) for skip in (0, 3))
    assert [c - 3 for c in whole.counts.tolist()] == samples.counts.tolist() == [37, 22]
    assert not torch.allclose(whole.sums, samples.sums)
    with pytest.raises(ValueError, match="no speech position"):
        cosine_samples(teacher, [batch], skip=batch.ids.shape[1])
    with pytest.raises(ValueError, match="block, mixer"):
        cosine_samples(teacher, [batch], part="head")


@torch.no_grad()
def test_a_skipped_layer_keeps_its_mlp_and_the_others(teacher, batch):
    before = hidden_states(teacher, batch)
    after = hidden_states(changed(teacher, 2, "skip"), batch)
    assert torch.equal(before[2], after[2])
    layer = teacher.backbone.layers[2]
    expected = before[2] + layer.mlp(layer.mlp_norm(before[2]))
    assert_near(after[3][batch.mask], expected[batch.mask], 8)


def test_a_converted_layer_is_the_only_mamba_layer(teacher, batch):
    model = changed(teacher, 1, "convert", batch)
    assert model.plan == ("attention", "mamba", "attention", "attention")
    assert one_layer_plan(3, 0, "mamba", "attention") == ("mamba", "attention", "attention")
    assert restored_plan(3, 2) == ("mamba", "mamba", "attention")
    assert restored_plan(2, None) == ("mamba", "mamba")
    with pytest.raises(ValueError, match="convert, skip"):
        changed(teacher, 1, "drop")
    with pytest.raises(ValueError, match="layer 4 is outside"):
        changed(teacher, 4, "skip")


@torch.no_grad()
def test_kl_over_target_positions(teacher, batch):
    student = changed(teacher, 1, "convert", batch)
    assert kl_samples(teacher, teacher, [batch]).scores == pytest.approx([0], abs=1e-9)
    samples = kl_samples(teacher, student, [batch])
    p, q = (
        model(model.embed(batch.ids, batch.kinds), batch.mask).logits.softmax(-1)
        for model in (teacher, student)
    )
    here = batch.targets != IGNORE
    expected = (p * (p / q).log()).sum(-1)[here].mean().item()
    assert samples.scores == pytest.approx([expected], rel=1e-4)
    assert samples.counts.tolist() == here.sum(-1).tolist()


@pytest.fixture
def scores(teacher, tmp_path):
    save_lm(tmp_path / "teacher", teacher, {})
    layers = tuple(LayerScore(i / 10, i / 10 - 0.05, i / 10 + 0.05) for i in range(4))
    sha256 = model_sha256(tmp_path / "teacher")
    made = ImportanceScores("wer", "WER", sha256, 40, {"seed": 0}, {}, layers)
    made.save(tmp_path / "importance/wer.json")
    return made


def test_scores_come_back_from_disk(scores, tmp_path):
    found = load_scores(tmp_path / "importance/wer.json", "wer", tmp_path / "teacher")
    assert found == scores and found.values == [0.0, 0.1, 0.2, 0.3]


def test_scores_of_another_teacher_mode_or_file_are_refused(scores, teacher, tmp_path):
    path, home = tmp_path / "importance/wer.json", tmp_path / "teacher"
    with pytest.raises(FileNotFoundError, match=r"importance\.py mode=kl"):
        load_scores(path.with_name("kl.json"), "kl", home)
    with pytest.raises(ValueError, match="holds wer scores, not kl"):
        load_scores(path, "kl", home)
    with pytest.raises(ValueError, match="no importance mode 'front'"):
        load_scores(path, "front", home)
    with torch.no_grad():
        teacher.llm_decoder.bias.add_(1)
    save_lm(tmp_path / "other", teacher, {})
    with pytest.raises(ValueError, match=f"another teacher: {scores.teacher_sha256[:12]}"):
        load_scores(path, "wer", tmp_path / "other")
    for content in ("not json", "[]", json.dumps({"mode": "wer", "layers": [{"score": 1}]})):
        path.write_text(content)
        with pytest.raises(ValueError, match="not a file of importance scores"):
            load_scores(path, "wer", home)
