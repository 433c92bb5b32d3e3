"""The whole student: completeness of the map, report, calibration, freezing."""

import io
import math

import pytest
import torch
from rich.console import Console

from mamtra.backbone.layer_plan import layer_plan, parse_plan
from mamtra.transfer.gqa_to_mamba import INITS
from mamtra.transfer.pieces import COPIED, FRESH
from mamtra.transfer.report import FROZEN
from mamtra.transfer.student import build_student

PLAN = layer_plan(4, "1:1", "blockbeg")


@pytest.mark.parametrize("init", INITS)
def test_the_transfer_map_is_complete(teacher, batch, init):
    student, report = build_student(teacher, PLAN, init, batch)
    assert student.plan == PLAN and not student.training
    seen: dict[str, int] = {}
    for row in report.rows:
        name = row.name.partition("[")[0]
        seen[name] = seen.get(name, 0) + math.prod(row.shape)
        assert row.status in (COPIED, FRESH)
    assert seen == {name: t.numel() for name, t in student.state_dict().items()}
    original, copy = teacher.state_dict(), student.state_dict()
    for row in report.rows:
        if row.status == COPIED and row.name == row.source:
            assert torch.equal(copy[row.name], original[row.name]), row.name
    for name in copy:
        outside_mixers = ".mixer." not in name
        kept_attention = name.startswith(("backbone.layers.0.", "backbone.layers.2."))
        if outside_mixers or kept_attention:
            assert torch.equal(copy[name], original[name]), name
    assert sum(report.counts().values()) == sum(p.numel() for p in student.parameters())


def test_fresh_parameter_names(teacher):
    _, report = build_student(teacher, PLAN, "paper")
    dynamics = ("a_log", "conv_bias", "conv_weight", "dt_bias", "dt_proj.weight", "norm_weight")
    names = (*dynamics, "out_proj.bias", "skip")
    expected = {f"backbone.layers.{i}.mixer.{name}" for i in (1, 3) for name in names}
    assert set(report.fresh_parameter_names) == expected
    _, random = build_student(teacher, PLAN, "xavier")
    assert "backbone.layers.1.mixer.in_proj.weight" in random.fresh_parameter_names


def test_an_all_attention_student_is_the_teacher(teacher, batch):
    student, report = build_student(teacher, teacher.plan, "paper", batch)
    embeds = teacher.embed(batch.ids, batch.kinds)
    assert torch.equal(student(embeds, batch.mask).logits, teacher(embeds, batch.mask).logits)
    assert report.cosine == pytest.approx((1.0,) * 4, abs=1e-5)
    assert report.fresh_parameter_names == ()


def test_cosine_is_of_the_layer_outputs_over_valid_tokens(teacher, batch):
    student, report = build_student(teacher, PLAN, "paper", batch)
    embeds = teacher.embed(batch.ids, batch.kinds)
    for i, (a, b) in enumerate(
        zip(
            teacher(embeds, batch.mask, output_hidden=True).layer_hidden,
            student(embeds, batch.mask, output_hidden=True).layer_hidden,
            strict=True,
        )
    ):
        a, b = a[batch.mask], b[batch.mask]
        expected = ((a * b).sum(-1) / a.norm(dim=-1) / b.norm(dim=-1)).mean()
        assert report.cosine[i] == pytest.approx(expected.item(), abs=1e-5)
    assert report.cosine[0] == pytest.approx(1.0, abs=1e-5)  # layer 0 stays attention
    assert report.cosine[1] < 0.999


def test_calibrated_starts_closer_than_the_others(teacher, batch):
    # One converted layer, so that nothing but its own start is compared.
    plan = ("attention", "mamba", "attention", "attention")
    cosine = {}
    for init in INITS:
        torch.manual_seed(1)
        cosine[init] = build_student(teacher, plan, init, batch)[1].cosine[1]
    assert max(cosine, key=lambda init: cosine[init]) == "calibrated"


def test_calibrated_heads_have_the_teachers_loudness(teacher, batch):
    student, _ = build_student(teacher, PLAN, "calibrated", batch)
    sizes = teacher.sizes
    attention, mamba = teacher.backbone.layers[1].mixer, student.backbone.layers[1].mixer
    captured = {}
    for name, module in (("teacher", attention), ("student", mamba)):
        module.out_proj.register_forward_pre_hook(
            lambda _, args, name=name: captured.__setitem__(name, args[0])
        )
    embeds = teacher.embed(batch.ids, batch.kinds)
    teacher(embeds, batch.mask)
    student(embeds, batch.mask)
    bias = attention.qkv_proj.bias[attention.sections(sizes)["v"]].reshape(sizes.n_kv_heads, -1)
    bias = bias.repeat_interleave(sizes.group, dim=0)
    heads = {k: v[batch.mask].unflatten(-1, (sizes.n_heads, -1)) for k, v in captured.items()}
    expected = (heads["teacher"] - bias).square().mean(dim=(0, 2)).sqrt()
    found = heads["student"].square().mean(dim=(0, 2)).sqrt()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_freezing_is_reported_and_real(teacher):
    student, report = build_student(teacher, PLAN, "paper", freeze=("mlp", "attention"))
    frozen = {name for name, p in student.named_parameters() if not p.requires_grad}
    assert frozen == {
        name
        for name, _ in student.named_parameters()
        if ".mlp." in name or "layers.0.mixer." in name or "layers.2.mixer." in name
    }
    assert {row.name for row in report.rows if row.status == FROZEN} == frozen
    assert all(p.requires_grad for p in teacher.parameters())


def test_the_teacher_is_untouched_and_independent(teacher, batch):
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    teacher.train()
    student, _ = build_student(teacher, PLAN, "calibrated", batch)
    assert teacher.training
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(before[name], t) for name, t in teacher.state_dict().items())
    assert not any(m._forward_pre_hooks for m in teacher.modules())


def test_the_report_prints_both_tables(teacher, batch):
    stream = io.StringIO()
    _, report = build_student(teacher, PLAN, "calibrated", batch)
    report.print(Console(file=stream, width=120))
    text = stream.getvalue()
    for wanted in ("*.mixer.in_proj.weight[C]", "qkv_proj.weight[q] / sqrt", "1 3", "copied"):
        assert wanted in text
    assert f"{report.cosine[1]:.3f}" in text
    _, silent = build_student(teacher, PLAN, "paper")
    assert silent.cosine is None
    silent.print(Console(file=io.StringIO()))
    with pytest.raises(ValueError, match="no batch"):
        silent.cosine_table()


def test_rotated_students_differ_only_by_the_flag(teacher, batch):
    student, report = build_student(teacher, PLAN, "calibrated", batch, mamba_rope=True)
    assert student.sizes.mamba_rope and not teacher.sizes.mamba_rope
    assert report.cosine[0] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("init", ["paper", "calibrated"])
def test_a_shared_state_leaves_what_comes_from_attention_as_it_is(teacher, batch, init):
    torch.manual_seed(0)
    plain, plain_report = build_student(teacher, PLAN, init, batch)
    torch.manual_seed(0)
    options = {"state": "shared", "state_dtype": "bf16"}
    student, report = build_student(teacher, PLAN, init, batch, **options)
    rows = [{p.name: (p.status, p.source) for p in r.rows} for r in (plain_report, report)]
    assert rows[0] == rows[1]
    layer = PLAN.index("mamba")
    found, expected = (m.backbone.layers[layer].mixer for m in (student, plain))
    kept = [n for n, rows in found.sections(found.sizes).items() if n != "z"]
    for name in kept:
        rows = found.sections(found.sizes)[name]
        assert torch.equal(found.in_proj.weight[rows], expected.in_proj.weight[rows])
    assert torch.equal(found.out_proj.weight, expected.out_proj.weight)
    sizes = student.sizes
    assert found.a_log.shape == found.dt_bias.shape == (sizes.n_kv_heads,)
    ssm = student.new_state(1, 9).slots[layer].ssm
    assert ssm.dtype == torch.bfloat16 and ssm.shape[1] == sizes.n_kv_heads
    with pytest.raises(ValueError, match=r"state=per_head: the teacher's .* state=shared"):
        build_student(student, PLAN, init, batch)


def test_bad_input(teacher, batch):
    with pytest.raises(ValueError, match="paper, calibrated, xavier, kaiming"):
        build_student(teacher, PLAN, "zeros")
    with pytest.raises(ValueError, match="3 entries for 4 layers"):
        build_student(teacher, PLAN[:3], "paper")
    with pytest.raises(ValueError, match="needs a calibration batch"):
        build_student(teacher, PLAN, "calibrated")
    with pytest.raises(ValueError, match="mlp, attention, embedding"):
        build_student(teacher, PLAN, "paper", freeze=("norms",))
    hybrid, _ = build_student(teacher, PLAN, "paper")
    with pytest.raises(ValueError, match="layer 1 of the plan is attention"):
        build_student(hybrid, teacher.plan, "paper")


def test_layerwise_takes_the_mixers_of_another_student(teacher, batch):
    source, _ = build_student(teacher, ("mamba",) * 4, "calibrated", batch)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(0.1)
    student, report = build_student(teacher, PLAN, "layerwise", batch, mixers=source)
    taken, original, found = source.state_dict(), teacher.state_dict(), student.state_dict()
    for name, tensor in found.items():
        from_source = name.startswith(("backbone.layers.1.mixer.", "backbone.layers.3.mixer."))
        assert torch.equal(tensor, (taken if from_source else original)[name]), name
    calibrated = build_student(teacher, PLAN, "calibrated", batch)[1]
    assert report.fresh_parameter_names == calibrated.fresh_parameter_names


def test_layerwise_refuses_models_that_do_not_fit(teacher, batch):
    other = build_student(teacher, ("mamba", "attention") * 2, "calibrated", batch)[0]
    with pytest.raises(ValueError, match="layer 1 of the model"):
        build_student(teacher, PLAN, "layerwise", batch, mixers=other)
    with pytest.raises(ValueError, match="mixers=none"):
        build_student(teacher, PLAN, "layerwise", batch)
    with pytest.raises(ValueError, match="to no other"):
        build_student(teacher, PLAN, "paper", batch, mixers=other)
    with pytest.raises(ValueError, match="layerwise"):
        build_student(teacher, PLAN, "magic", batch)


@pytest.mark.parametrize("init", ["identity", "calibrated"])
def test_window_layers_are_the_teachers_tensors_whatever_the_init(teacher, batch, init):
    plan = parse_plan("AWWA")
    student, report = build_student(teacher, plan, init, batch, window=5)
    assert student.plan == plan and student.sizes.window == 5 == student.backbone.window
    original = teacher.state_dict()
    assert {row.name for row in report.rows} == original.keys()
    assert all(row.status == COPIED and row.name == row.source for row in report.rows)
    assert all(torch.equal(t, original[name]) for name, t in student.state_dict().items())
    assert report.fresh_parameter_names == () and report.cosine is not None
    assert report.cosine[0] == pytest.approx(1, abs=1e-5) and report.cosine[3] < 0.999
    wide, _ = build_student(teacher, plan, init, batch, window=40)
    embeds = teacher.embed(batch.ids, batch.kinds)
    logits = wide(embeds, batch.mask, generated=batch.generated).logits
    expected = teacher(embeds, batch.mask).logits
    torch.testing.assert_close(logits[batch.mask], expected[batch.mask])


def test_windows_beside_mamba_layers_and_what_identity_cannot_do(teacher, batch):
    student, report = build_student(teacher, parse_plan("AWMA"), "paper", batch)
    fresh = {name.split(".")[2] for name in report.fresh_parameter_names}
    assert fresh == {"2"} and student.sizes.window == teacher.sizes.window
    with pytest.raises(
        ValueError, match=r"layer 2 becomes mamba: choose one of paper, .*layerwise"
    ):
        build_student(teacher, parse_plan("AWMA"), "identity", batch)
    with pytest.raises(
        ValueError, match="layer 2 of the plan is window but the teacher's is mamba"
    ):
        build_student(student, parse_plan("AWWA"), "identity", batch)
