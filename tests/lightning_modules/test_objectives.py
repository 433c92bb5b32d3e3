import math

import pytest
import torch

from lightning_modules.objectives import (
    accuracy,
    cross_entropy,
    embedding_loss,
    relative_mse,
    skew_kl,
)

CASES = [(d, a) for d in ("forward", "reverse") for a in (0.0, 0.1, 0.5, 1.0)]


def random_pair(*shape, dtype=torch.float64, scale=3.0):
    generator = torch.Generator().manual_seed(0)
    draw = [scale * torch.randn(*shape, dtype=dtype, generator=generator) for _ in range(2)]
    return draw[0], draw[1]


def test_cross_entropy_by_hand():
    logits = torch.tensor([[[math.log(1.0), math.log(3.0)], [math.log(2.0), math.log(2.0)]]])
    targets = torch.tensor([[1, 0]])
    mask = torch.tensor([[True, True]])
    # p(1) = 3/4 and p(0) = 1/2
    expected = (math.log(4 / 3) + math.log(2)) / 2
    assert cross_entropy(logits, targets, mask).item() == pytest.approx(expected, rel=1e-6)
    first = torch.tensor([[True, False]])
    assert cross_entropy(logits, targets, first).item() == pytest.approx(math.log(4 / 3), rel=1e-6)


def test_label_smoothing_by_hand():
    logits = torch.tensor([[math.log(1.0), math.log(3.0)]])
    # weight 1 - s + s/2 on the target, s/2 on the other class
    expected = 0.9 * math.log(4 / 3) + 0.1 * math.log(4)
    value = cross_entropy(logits, torch.tensor([1]), None, label_smoothing=0.2)
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_skew_kl_by_hand():
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1])
    forward = skew_kl(p.log()[None], q.log()[None], None, "forward", 0.1).item()
    mixture = [0.1 * 0.5 + 0.9 * 0.9, 0.1 * 0.5 + 0.9 * 0.1]
    expected = sum(0.5 * math.log(0.5 / m) for m in mixture)
    assert forward == pytest.approx(expected, rel=1e-5)
    reverse = skew_kl(p.log()[None], q.log()[None], None, "reverse", 0.1).item()
    mixture = [0.9 * 0.5 + 0.1 * 0.9, 0.9 * 0.5 + 0.1 * 0.1]
    expected = sum(a * math.log(a / m) for a, m in zip((0.9, 0.1), mixture, strict=True))
    assert reverse == pytest.approx(expected, rel=1e-5)


def test_skew_kl_limits_of_alpha():
    teacher, student = random_pair(4, 7)
    p, q = teacher.log_softmax(-1), student.log_softmax(-1)
    kl = lambda a, b: (a.exp() * (a - b)).sum(-1).mean()  # noqa: E731
    assert torch.allclose(skew_kl(teacher, student, None, "forward", 0.0), kl(p, q))
    assert torch.allclose(skew_kl(teacher, student, None, "reverse", 0.0), kl(q, p))
    near_zero = skew_kl(teacher, student, None, "forward", 1e-9)
    assert torch.allclose(near_zero, kl(p, q), rtol=1e-6)
    for direction in ("forward", "reverse"):
        assert skew_kl(teacher, student, None, direction, 1.0).item() == 0


@pytest.mark.parametrize(("direction", "alpha"), CASES)
def test_identical_distributions_give_zero(direction, alpha):
    teacher, _ = random_pair(5, 9, dtype=torch.float32)
    shifted = teacher + 3.0  # the same distribution
    assert abs(skew_kl(teacher, shifted, None, direction, alpha).item()) < 1e-6
    assert skew_kl(teacher, teacher, None, direction, alpha).item() >= -1e-7


@pytest.mark.parametrize(("direction", "alpha"), CASES)
def test_skew_kl_is_finite_for_extreme_logits(direction, alpha):
    teacher = torch.tensor([[0.0, -200.0, 5.0], [3e38, 0.0, -3e38], [1e4, -1e4, 0.0]])
    student = torch.tensor([[1.0, -300.0, 4.0], [-3e38, 0.0, 3e38], [-1e4, 1e4, 0.0]])
    student.requires_grad_()
    loss = skew_kl(teacher, student, None, direction, alpha)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all()
    assert loss.item() >= -1e-6


@pytest.mark.parametrize(("direction", "alpha"), CASES)
def test_skew_kl_gradient(direction, alpha):
    teacher, student = random_pair(3, 5)
    mask = torch.tensor([True, False, True])
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: skew_kl(teacher, s, mask, direction, alpha), student)


def test_cross_entropy_and_embedding_gradients():
    logits, teacher = random_pair(3, 5)
    logits.requires_grad_()
    targets, mask = torch.tensor([0, 4, 2]), torch.tensor([True, True, False])
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, targets, mask, 0.1), logits)
    assert torch.autograd.gradcheck(lambda x: relative_mse(teacher, x, mask), logits)


def test_relative_mse_by_hand():
    teacher = torch.tensor([[2.0, 0.0], [0.0, 4.0], [100.0, 100.0]])
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    mask = torch.tensor([True, True, False])
    # squared errors 1 + 9 over squares 4 + 16
    assert relative_mse(teacher, student, mask).item() == pytest.approx(0.5)
    assert relative_mse(teacher, torch.zeros_like(teacher), None).item() == pytest.approx(1.0)
    assert relative_mse(1000 * teacher, 1000 * student, mask).item() == pytest.approx(0.5)


def test_embedding_loss_averages_states():
    teacher = torch.ones(2, 3)
    states = [torch.zeros(2, 3), torch.ones(2, 3)]
    value = embedding_loss([teacher, teacher], states, torch.tensor([True, True]))
    assert value.item() == pytest.approx(0.5)
    with pytest.raises(ValueError, match="same states"):
        embedding_loss([teacher], states, None)
    with pytest.raises(ValueError, match="same states"):
        embedding_loss([], [], None)


def test_accuracy_counts_unmasked():
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    targets = torch.tensor([0, 1, 0])
    assert accuracy(logits, targets, torch.tensor([True, True, False])).item() == 0.5


def losses_of(logits, other, mask):
    targets = torch.zeros(logits.shape[:-1], dtype=torch.long)
    return [
        cross_entropy(logits, targets, mask),
        skew_kl(other, logits, mask),
        skew_kl(other, logits, mask, "reverse"),
        relative_mse(other, logits, mask),
    ]


def test_all_masked_batch_gives_zero_with_zero_gradient():
    for index in range(4):
        other, logits = random_pair(2, 3, 5)
        logits.requires_grad_()
        loss = losses_of(logits, other, torch.zeros(2, 3, dtype=torch.bool))[index]
        loss.backward()
        assert loss.item() == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_padding_does_not_change_any_loss():
    other, logits = random_pair(2, 3, 5)
    mask = torch.ones(2, 3, dtype=torch.bool)
    padding = torch.full((2, 4, 5), float("nan"), dtype=logits.dtype)
    longer = [torch.cat([x, padding], dim=1) for x in (logits, other)]
    longer_mask = torch.cat([mask, torch.zeros(2, 4, dtype=torch.bool)], dim=1)
    plain, padded = losses_of(logits, other, mask), losses_of(*longer, longer_mask)
    for expected, got in zip(plain, padded, strict=True):
        assert torch.allclose(expected, got, rtol=1e-12)


def test_bf16_logits_are_compared_in_float32():
    other, logits = random_pair(2, 5, dtype=torch.float32)
    loss = skew_kl(other.bfloat16(), logits.bfloat16(), None)
    assert loss.dtype == torch.float32
    assert torch.allclose(loss, skew_kl(other.bfloat16().float(), logits.bfloat16().float(), None))


@pytest.mark.parametrize(
    ("direction", "alpha", "match"),
    [("sideways", 0.1, "forward, reverse"), ("forward", -0.1, "alpha"), ("forward", 2, "alpha")],
)
def test_skew_kl_rejects(direction, alpha, match):
    with pytest.raises(ValueError, match=match):
        skew_kl(torch.zeros(1, 2), torch.zeros(1, 2), None, direction, alpha)
