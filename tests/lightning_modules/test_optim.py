from dataclasses import replace

import pytest
import torch
from torch import nn

from lightning_modules.optim import (
    OptimizerSettings,
    build_optimizer,
    cosine_with_warmup,
    parameter_groups,
)

PARTS = ("gate_up", "down")


def names_of(model, groups):
    names = {id(p): name for name, p in model.named_parameters()}
    return {group["name"]: {names[id(p)] for p in group["params"]} for group in groups}


def test_only_matrices_of_linear_layers_are_decayed(tiny_lm):
    model = tiny_lm(("attention", "mamba"))
    groups = parameter_groups(model, lr=1.0, weight_decay=0.1)
    assert {g["name"]: g["weight_decay"] for g in groups} == {"decayed": 0.1, "plain": 0.0}
    attention, mamba = "backbone.layers.0.", "backbone.layers.1."
    decayed = {
        f"{attention}mixer.qkv_proj.weight",
        f"{attention}mixer.out_proj.weight",
        f"{mamba}mixer.in_proj.weight",
        f"{mamba}mixer.dt_proj.weight",
        f"{mamba}mixer.out_proj.weight",
        *(f"{layer}mlp.{part}_proj.weight" for layer in (attention, mamba) for part in PARTS),
        "llm_decoder.weight",
    }
    others = {name for name, _ in model.named_parameters()} - decayed
    assert names_of(model, groups) == {"decayed": decayed, "plain": others}
    # What is a scale, a rate or a table is there, and not decayed.
    for part in ("embedding.weight", "norm.weight", "bias", "conv_weight", "a_log", "skip"):
        assert any(name.endswith(part) for name in others), part


def test_fresh_parameters_have_their_own_rate_and_no_decay():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    groups = parameter_groups(model, 1.0, 0.1, fresh_names=["1.weight", "1.bias"], fresh_lr=5.0)
    fresh = groups[-1]
    assert (fresh["lr"], fresh["weight_decay"]) == (5.0, 0.0)
    assert names_of(model, groups)["fresh"] == {"1.weight", "1.bias"}
    assert names_of(model, groups)["decayed"] == {"0.weight"}
    with pytest.raises(ValueError, match=r"lacks: 2\.weight"):
        parameter_groups(model, 1.0, 0.1, fresh_names=["2.weight"])


def test_frozen_parameters_are_left_out():
    model = nn.Linear(2, 3)
    model.bias.requires_grad_(False)
    assert names_of(model, parameter_groups(model, 1.0, 0.1)) == {"decayed": {"weight"}}


def test_cosine_with_warmup():
    factors = [cosine_with_warmup(step, 4, 20) for step in range(21)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0 and factors[12] == pytest.approx(0.5) and factors[20] == 0
    assert factors[4:] == sorted(factors[4:], reverse=True)
    assert cosine_with_warmup(0, 0, 10) == 1.0


def test_recipes():
    constant = OptimizerSettings("adam_constant", 1e-5, (0.9, 0.999), 0.0, 0, None)
    optimizer, schedule = build_optimizer(nn.Linear(2, 2), 10, constant)
    assert type(optimizer) is torch.optim.Adam
    for _ in range(5):
        optimizer.step()
        schedule.step()
    assert [g["lr"] for g in optimizer.param_groups] == [1e-5, 1e-5]
    assert all(g["weight_decay"] == 0 for g in optimizer.param_groups)
    optimizer, _ = build_optimizer(nn.Linear(2, 2), 10, replace(constant, recipe="adamw_cosine"))
    assert type(optimizer) is torch.optim.AdamW
    with pytest.raises(ValueError, match="adamw_cosine, adam_constant"):
        replace(constant, recipe="sgd")


def test_what_a_recipe_is_told_it_does_or_refuses():
    constant = OptimizerSettings("adam_constant", 1e-5, (0.9, 0.999), 0.0, 4, None)
    _, schedule = build_optimizer(nn.Linear(2, 2), 10, constant)
    factors = []
    for _ in range(6):
        factors.append(schedule.get_last_lr()[0] / 1e-5)
        schedule.optimizer.step()
        schedule.step()
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
    with pytest.raises(
        ValueError, match=r"optimizer\.weight_decay=0\.1: recipe adam_constant has none"
    ):
        replace(constant, weight_decay=0.1)
