"""Guided attention of the teacher."""

import pandas as pd
import pytest
import torch

from lightning_modules.alignment import AlignmentProbe, embed_codes_as_letters
from lightning_modules.run_folder import RunFolder
from lightning_modules.teacher import TeacherModule
from mamtra.lm.sequence import IGNORE
from mamtra.text.characters import CharacterTokenizer

GUIDE = {"weight": 0.5, "layers": [0, 1], "head": 1}


@pytest.fixture
def aligned_tokens(tokens_path):
    """The tiny corpus speaks every letter for two tokens."""
    frame = pd.read_parquet(tokens_path)
    frame["alignment"] = [[i // 2 for i in range(len(tokens))] for tokens in frame["tokens"]]
    frame.to_parquet(tokens_path)


def test_the_loss_is_minus_the_log_attention_to_the_spoken_letter(
    aligned_tokens, datamodule, tiny_lm
):
    model, batch = tiny_lm().eval(), next(iter(datamodule().val_dataloader()))
    probe = AlignmentProbe(model, [1], head=0)
    heard = []
    mixer = model.backbone.layers[1].mixer
    mixer.register_forward_hook(lambda m, inputs, _: heard.append(m.log_attention(*inputs, 0)))
    model(model.embed(batch.ids, batch.kinds), batch.mask)
    found = probe.loss(batch.aligned)
    places = (batch.aligned != IGNORE).nonzero().tolist()
    log_attention = heard[0].detach()
    wanted = [-float(log_attention[b, t, batch.aligned[b, t]]) for b, t in places]
    assert float(found.detach()) == pytest.approx(sum(wanted) / len(wanted), rel=1e-5)
    assert float(probe.loss(batch.aligned)) == 0, "a forward pass counts once"


def test_training_makes_the_heads_look_at_the_letter(
    aligned_tokens, tiny_lm, optimizer, train, tmp_path
):
    module = TeacherModule(tiny_lm(), optimizer, alignment=GUIDE)
    curve = train(module, RunFolder(tmp_path / "run", "teacher"), 40)["alignment"].dropna()
    assert curve.iloc[-1] < curve.iloc[0] - 0.5


def test_other_heads_are_left_alone(aligned_tokens, datamodule, tiny_lm):
    model, batch = tiny_lm(), next(iter(datamodule().val_dataloader()))
    probe = AlignmentProbe(model, [1], head=1)
    model(model.embed(batch.ids, batch.kinds), batch.mask)
    probe.loss(batch.aligned).backward()
    mixer = model.backbone.layers[1].mixer
    rows = mixer.sections(model.sizes)["q"]
    per_head = mixer.qkv_proj.weight.grad[rows].unflatten(0, (model.sizes.n_heads, -1))
    assert (per_head[0] == 0).all() and (per_head[1] != 0).any()


def test_a_table_without_alignment_says_what_to_do(tiny_lm, optimizer, train, tmp_path):
    module = TeacherModule(tiny_lm(), optimizer, alignment=GUIDE)
    with pytest.raises(ValueError, match=r"no column 'alignment'.*data\.tokenise"):
        train(module, RunFolder(tmp_path / "run", "teacher"), 2)


@pytest.mark.parametrize(
    ("layers", "head", "match"),
    [
        ([2], 0, r"alignment layer 2 is outside 0\.\.1"),
        ([0], 2, r"alignment head 2 is outside 0\.\.1"),
        ([1], 0, "alignment layer 1 is mamba, not attention"),
    ],
)
def test_a_wrong_place_is_named(tiny_lm, layers, head, match):
    with pytest.raises(ValueError, match=match):
        AlignmentProbe(tiny_lm(("attention", "mamba")), layers, head)


def test_the_loss_ignores_what_is_not_aligned(tiny_lm):
    model = tiny_lm()
    probe = AlignmentProbe(model, [0], head=0)
    model(torch.randn(1, 5, 16))
    assert float(probe.loss(torch.full((1, 5), IGNORE))) == 0


def test_codes_start_near_the_letters_they_speak(aligned_tokens, datamodule, tiny_lm):
    model, table = tiny_lm(), datamodule().train_table
    before = model.speech_embedding.weight.detach().clone()
    embed_codes_as_letters(model, table)
    after = model.speech_embedding.weight.detach()
    # In the tiny corpus, code k speaks letter "a" + k; codes 8 and up never occur.
    letters = CharacterTokenizer().encode("abcdefgh")[:8]
    similar = torch.cosine_similarity(after[:8], model.text_embedding.weight[letters])
    assert (
        similar > torch.cosine_similarity(before[:8], model.text_embedding.weight[letters])
    ).all()
    assert similar.mean() > 0.6
    assert torch.equal(after[8:], before[8:])


def test_codes_need_an_alignment_to_start_from(datamodule, tiny_lm):
    with pytest.raises(ValueError, match="no column 'alignment'"):
        embed_codes_as_letters(tiny_lm(), datamodule().train_table)
