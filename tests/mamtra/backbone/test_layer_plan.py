"""Layer plans: every ratio and placement, and the examples of the paper."""

import pytest

from mamtra.backbone.layer_plan import (
    CLOSED_FORM,
    RATIOS,
    attention_count,
    attention_layers,
    check_plan,
    draw,
    layer_plan,
    parse_plan,
    parse_ratio,
    plan_letters,
    plan_name,
)

# MamTra, table of placements: 24 layers at 1:5, and the final 1:1 and 1:3 models.
PAPER = [
    ("1:5", "blockbeg", (0, 6, 12, 18)),
    ("1:5", "blockend", (5, 11, 17, 23)),
    ("1:5", "front", (0, 1, 2, 3)),
    ("1:5", "middle", (10, 11, 12, 13)),
    ("1:5", "back", (20, 21, 22, 23)),
    ("1:5", "sandwich", (0, 1, 22, 23)),
    ("1:1", "blockbeg", tuple(range(0, 24, 2))),
    ("1:3", "blockbeg", (0, 4, 8, 12, 16, 20)),
    ("1:11", "blockbeg", (0, 12)),
    ("1:11", "sandwich", (0, 23)),
]


@pytest.mark.parametrize(("ratio", "placement", "expected"), PAPER)
def test_examples_of_the_paper(ratio, placement, expected):
    assert attention_layers(24, ratio, placement) == expected


@pytest.mark.parametrize("n_layers", [12, 24])
@pytest.mark.parametrize("placement", CLOSED_FORM)
@pytest.mark.parametrize("ratio", RATIOS)
def test_counts_order_and_shape(ratio, placement, n_layers):
    attention, mamba = parse_ratio(ratio)
    plan = layer_plan(n_layers, ratio, placement)
    kept = [i for i, kind in enumerate(plan) if kind == "attention"]
    assert len(plan) == n_layers
    assert set(plan) <= {"attention", "mamba"}
    assert len(kept) * (attention + mamba) == n_layers * attention
    assert tuple(kept) == attention_layers(n_layers, ratio, placement)
    if not kept:
        return
    period, run = attention + mamba, list(range(kept[0], kept[0] + len(kept)))
    if placement == "blockbeg":
        assert all(i % period == 0 for i in kept)
    elif placement == "blockend":
        assert all(i % period == period - 1 for i in kept)
    elif placement == "sandwich":
        half = (len(kept) + 1) // 2
        assert kept[:half] == list(range(half))
        assert kept[half:] == list(range(n_layers - len(kept) + half, n_layers))
    else:
        assert kept == run
        before, after = kept[0], n_layers - 1 - kept[-1]
        assert {
            "front": before == 0,
            "back": after == 0,
            "middle": after - before in (0, 1),
        }[placement]


@pytest.mark.parametrize("ratio", ["1:4", "2:1", "1", "", "1:1:1", "half"])
def test_unknown_ratio_lists_the_valid_ones(ratio):
    with pytest.raises(ValueError, match="1:0, 1:1, 1:2, 1:3, 1:5, 1:11, 0:1"):
        layer_plan(12, ratio, "front")


def test_unknown_placement_lists_the_valid_ones():
    with pytest.raises(ValueError, match="blockbeg, blockend, front, middle, back, sandwich"):
        layer_plan(12, "1:1", "top")


def test_a_ratio_that_does_not_divide_names_both():
    with pytest.raises(ValueError, match=r"1:3 .* 4 layers, got 10"):
        layer_plan(10, "1:3", "front")


def test_another_mixer_stands_where_mamba_would():
    assert plan_letters(layer_plan(8, "1:3", "back", mixer="window")) == "WWWWWWAA"
    assert parse_plan("AWM") == ("attention", "window", "mamba")
    for mixer in ("attention", "rnn"):
        with pytest.raises(ValueError, match=f"unknown mixer '{mixer}'.*mamba, window"):
            layer_plan(4, "1:1", "front", mixer=mixer)


def test_names_and_drawing():
    assert parse_ratio("1to3") == parse_ratio("1:3") == (1, 3)
    assert plan_name("1:11", "front") == plan_name("1to11", "front") == "1to11-front"
    assert draw(layer_plan(8, "1:3", "blockbeg")) == "A M M M A M M M"


def test_check_plan():
    assert check_plan(("attention", "mamba"), 2) == ("attention", "mamba")
    with pytest.raises(ValueError, match="1 entries for 2 layers"):
        check_plan(("mamba",), 2)
    with pytest.raises(ValueError, match="layer 1 of the plan is 'rnn'"):
        check_plan(("mamba", "rnn"), 2)


def test_measured_placements_keep_the_highest_scores():
    scores = [3.0, 1.0, 2.0, 0.5, 2.0, 9.0]
    assert attention_layers(6, "1:1", "wer", scores) == (0, 2, 5)  # the earlier of equal layers
    assert attention_layers(6, "1:5", "kl", scores) == (5,)
    assert attention_layers(6, "1:0", "cosine", scores) == tuple(range(6))
    with pytest.raises(ValueError, match="needs importance scores"):
        layer_plan(6, "1:1", "wer")
    with pytest.raises(ValueError, match="5 importance scores for 6 layers"):
        layer_plan(6, "1:1", "wer", scores[:5])


def test_plans_in_letters():
    plan = layer_plan(4, "1:1", "blockbeg")
    assert parse_plan(plan_letters(plan)) == parse_plan("a m A M") == plan
    assert attention_count(plan) == 2
    for letters in ("", "AMX", "1:1"):
        with pytest.raises(ValueError, match=r"one letter per layer.*A \(attention\), M \(mamba\)"):
            parse_plan(letters)
