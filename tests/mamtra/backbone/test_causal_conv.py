"""The depthwise convolution against conv1d and against its own numerical gradient."""

import pytest
import torch
from torch.nn import functional as F

from mamtra.backbone.causal_conv import causal_conv
from tests.near import assert_near


@pytest.mark.parametrize("length", [1, 2, 9])
def test_equals_conv1d_in_values_and_gradients(length):
    g = torch.Generator().manual_seed(0)
    fused = torch.randn(2, length + 3, 11, generator=g, dtype=torch.float64)
    inputs = fused[..., 4:].requires_grad_()  # a strided view, as in the mixer
    weight = torch.randn(7, 4, generator=g, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(7, generator=g, dtype=torch.float64, requires_grad=True)
    expected = F.conv1d(inputs.transpose(1, 2), weight[:, None], bias, groups=7).transpose(1, 2)
    found = causal_conv(inputs, weight, bias)
    assert found.shape == (2, length, 7)
    assert_near(found, expected, 4)
    target = torch.randn(found.shape, generator=g, dtype=torch.float64)
    variables = (inputs, weight, bias)
    got = torch.autograd.grad((found * target).sum(), variables)
    want = torch.autograd.grad((expected * target).sum(), variables)
    assert_near(got, want, 4)
    assert torch.autograd.gradcheck(causal_conv, variables)


def test_low_precision_inputs_keep_fp32_parameter_gradients():
    inputs = torch.randn(2, 20, 8)
    weight, bias = torch.randn(8, 4, requires_grad=True), torch.zeros(8, requires_grad=True)
    low = causal_conv(inputs.bfloat16(), weight, bias)
    assert low.dtype == torch.bfloat16
    exact = torch.autograd.grad(causal_conv(inputs, weight, bias).sum(), (weight, bias))
    rough = torch.autograd.grad(low.float().sum(), (weight, bias))
    for a, b in zip(rough, exact, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() / b.norm() < 0.02
