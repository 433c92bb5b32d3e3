"""Comparison of tensors that two orders of summation made: the yardstick is rounding, not a number."""

import torch
from torch import Tensor


def roundings(found: Tensor, expected: Tensor) -> float:
    """Largest difference in roundings of the largest expected value: max|f - e| / (eps max|e|).

    `eps` is that of the dtype of `found`. One result per tensor and not per element: a small element
    is a sum of large ones, and has their rounding. Infinite when a value is NaN or all of
    `expected` is 0 and `found` is not.
    """
    assert found.shape == expected.shape, f"{tuple(found.shape)} and {tuple(expected.shape)}"
    difference = (found.double() - expected.double()).abs().max().item()
    unit = torch.finfo(found.dtype).eps * expected.double().abs().max().item()
    if difference == 0.0:
        return 0.0
    return difference / unit if unit > 0.0 and difference == difference else float("inf")


def assert_near(found, expected, limit: float) -> None:
    """Tensors, or two equally long sequences of them, differ by at most `limit` roundings.

    What a limit should be: two orders of summing n terms differ by about sqrt(n) roundings, and
    every layer adds its own. The limits in the tests are about four times what was measured with
    1, 2 and 4 threads, so that another library's order passes and another formula does not.
    """
    pairs = [(found, expected)] if isinstance(found, Tensor) else zip(found, expected, strict=True)
    for place, (one, other) in enumerate(pairs):
        assert one.dtype == other.dtype, f"{one.dtype} and {other.dtype}"
        n = roundings(one, other)
        assert n <= limit, f"tensor {place}: {n:.3g} roundings apart, {limit:g} allowed"
