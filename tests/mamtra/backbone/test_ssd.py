"""The chunked form against the recurrence: values, states and gradients."""

import sys

import pytest
import torch

from mamtra.backbone import ssd as ssd_module
from mamtra.backbone.ssd import backend, ssd
from mamtra.backbone.ssd_reference import ssd_chunked, ssd_sequential

CHUNK = 16
LENGTHS = [1, 5, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def inputs(length, dtype, seed=0, decay=16.0, batch=2, heads=6, groups=2, n=8, p=4):
    """x, dt, A, B, C and an initial state; x, B and C are strided views as in the mixer."""
    g = torch.Generator().manual_seed(seed)
    fused = torch.randn(batch, length, groups * p + groups * n + heads * n, generator=g)
    x, b, c = fused.to(dtype).split((groups * p, groups * n, heads * n), dim=-1)
    tensors = (
        x.unflatten(-1, (groups, p)),
        torch.rand(batch, length, heads, generator=g).to(dtype) * 0.2,
        -torch.rand(heads, generator=g).to(dtype) * decay - 0.01,
        b.unflatten(-1, (groups, n)),
        c.unflatten(-1, (heads, n)),
        torch.randn(batch, heads, n, p, generator=g).to(dtype),
    )
    return tuple(tensor.detach().requires_grad_() for tensor in tensors)


def relative(found, expected):
    largest = expected.abs().max().clamp_min(1e-300)  # a single step from zero: dA is exactly 0
    return ((found.double() - expected).abs().max() / largest).item()


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_chunked_equals_sequential(dtype, length, with_state):
    arguments = inputs(length, dtype)
    used = arguments if with_state else arguments[:5]
    exact = tuple(tensor.detach().double().requires_grad_() for tensor in used)
    expected, last = ssd_sequential(*exact)
    found, found_last = ssd_chunked(*used, chunk=CHUNK)
    assert relative(found, expected) <= TOLERANCE[dtype]
    assert relative(found_last, last) <= TOLERANCE[dtype]

    weight = torch.linspace(-1, 1, expected.numel(), dtype=torch.float64).reshape(expected.shape)
    grads = torch.autograd.grad((expected * weight).sum() + last.square().sum(), exact)
    loss = (found.double() * weight).sum() + found_last.double().square().sum()
    for name, got, want in zip(
        ["x", "dt", "A", "B", "C", "state"], torch.autograd.grad(loss, used), grads, strict=False
    ):
        assert relative(got, want) <= TOLERANCE[dtype], name


@pytest.mark.parametrize("decay", [1e-4, 200.0])
def test_slow_and_strong_decay_stay_exact(decay):
    arguments = inputs(70, torch.float64, decay=decay)
    expected, last = ssd_sequential(*arguments)
    found, found_last = ssd_chunked(*arguments, chunk=CHUNK)
    assert relative(found, expected.detach()) <= 1e-12
    assert relative(found_last, last.detach()) <= 1e-12


def test_the_chunk_length_does_not_matter():
    arguments = inputs(45, torch.float64)
    reference, _ = ssd_chunked(*arguments, chunk=45)
    for chunk in (1, 2, 7, 16, 64):
        assert relative(ssd_chunked(*arguments, chunk=chunk)[0], reference.detach()) <= 1e-12


def test_gradcheck():
    arguments = inputs(5, torch.float64, batch=1, heads=2, groups=1, n=2, p=2)
    assert torch.autograd.gradcheck(lambda *a: ssd_chunked(*a, chunk=2), arguments)


def test_split_sequences_continue_from_the_state():
    x, dt, a, b, c, state = inputs(40, torch.float64)
    whole, last = ssd(x, dt, a, b, c, state, CHUNK)
    parts = []
    for start, end in ((0, 17), (17, 18), (18, 40)):
        piece = slice(start, end)
        y, state = ssd(x[:, piece], dt[:, piece], a, b[:, piece], c[:, piece], state, CHUNK)
        parts.append(y)
    assert relative(torch.cat(parts, dim=1), whole.detach()) <= 1e-12
    assert relative(state, last.detach()) <= 1e-12


def test_zero_dt_leaves_the_state_untouched():
    x, dt, a, b, c, state = inputs(10, torch.float64)
    _, last = ssd(x, torch.zeros_like(dt), a, b, c, state, 4)
    assert torch.equal(last, state)


def test_low_precision_inputs_keep_an_fp32_state_under_autocast():
    x, dt, a, b, c, _ = inputs(3 * CHUNK, torch.float32, decay=1.0)
    expected, last = ssd_sequential(x, dt, a, b, c)
    with torch.autocast("cpu", torch.bfloat16):
        y, state = ssd(x.bfloat16(), dt, a, b.bfloat16(), c.bfloat16(), chunk=CHUNK)
    assert y.dtype == torch.bfloat16
    assert state.dtype == torch.float32
    assert relative(y, expected.detach()) < 0.02
    assert relative(state, last.detach()) < 0.02


def test_wrong_shapes_are_named():
    x, dt, a, b, c, _ = inputs(4, torch.float32)
    with pytest.raises(ValueError, match=r"A \(5,\)"):
        ssd(x, dt, a[:5], b, c)
    with pytest.raises(ValueError, match="do not fit"):
        ssd(x[:, :3], dt, a, b, c)


class Absent:
    """Finds that mamba_ssm is not installed, even where it is."""

    def find_spec(self, name, path, target=None):
        if name == "mamba_ssm":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def fresh_import():
    """Nothing known of the kernel before and after a test."""

    def forget():
        for name in [name for name in sys.modules if name.split(".")[0] == "mamba_ssm"]:
            del sys.modules[name]
        ssd_module._fused.cache_clear()
        ssd_module._warn.cache_clear()

    forget()
    yield
    forget()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "torch (mamba_ssm is not installed)"),
        ("import causal_conv1d_cuda", "does not import: No module named 'causal_conv1d_cuda'"),
        ("raise OSError('undefined symbol: _ZN3c10')", "OSError: undefined symbol: _ZN3c10"),
        ("def mamba_chunk_scan_combined(): ...", "mamba_ssm"),
    ],
)
def test_a_missing_or_broken_kernel_is_said(tmp_path, monkeypatch, fresh_import, source, said):
    if source is None:
        monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    else:
        folder = tmp_path / "mamba_ssm/ops/triton"
        folder.mkdir(parents=True)
        (folder / "ssd_combined.py").write_text(source)
        (folder / "selective_state_update.py").write_text("def selective_state_update(): ...")
        monkeypatch.syspath_prepend(tmp_path)
    assert said in backend("cuda") and backend("cpu") == "torch"
    kernel, reason = ssd_module._fused()
    assert (kernel is None) == bool(reason) == (said != "mamba_ssm")
    if reason:
        with pytest.warns(RuntimeWarning, match="plain PyTorch") as caught:
            for _ in range(2):
                ssd_module._warn(reason)
        assert len(caught) == 1 and "--no-build-isolation" in str(caught[0].message)


def as_the_kernel(state, x, dt, A, B, C, D, dt_bias, dt_softplus):
    """What mamba_ssm's selective_state_update documents, with its names and shapes: state (B, H, P, N), x and
    dt (B, H, P), A (H, P, N), B and C (B, G, N), D and dt_bias (H, P). Its fast form, one dt and one A for a
    head, is chosen where their strides are 0."""
    assert dt_softplus and {A.stride(-1), A.stride(-2), dt.stride(-1), dt_bias.stride(-1)} == {0}
    assert dt.shape == x.shape == state.shape[:3] and B.shape == C.shape
    heads = state.shape[1] // B.shape[1]
    b, c = (part.repeat_interleave(heads, dim=1)[:, :, None] for part in (B, C))
    dt = torch.nn.functional.softplus(dt + dt_bias)[..., None]
    state.copy_(state * torch.exp(A * dt) + dt * b * x[..., None])
    return (state * c).sum(-1) + D * x


def test_one_token_by_the_kernel_is_the_sequential_definition(monkeypatch):
    """With a stand-in that follows the kernel's documentation: a GPU is needed for the kernel itself."""
    kernels = ssd_module.Kernels(as_the_kernel, as_the_kernel)
    monkeypatch.setattr(ssd_module, "_kernels_for", lambda x: kernels)
    x, dt, a, b, c, state = (t.detach() for t in inputs(1, torch.float64))
    bias, skip = torch.randn(2, a.shape[0], dtype=torch.float64)
    positive = torch.nn.functional.softplus(dt + bias)
    y, last = ssd_sequential(x, positive, a, b, c, state)
    group = c.shape[2] // x.shape[2]
    y = y + skip[:, None] * x.repeat_interleave(group, dim=2)
    moved = state.detach().float()
    found = ssd_module.update(moved, x[:, 0], dt[:, 0], bias, a, b[:, 0], c[:, 0], skip)
    assert found is not None and relative(found.double(), y[:, 0].detach()) <= 1e-5
    assert relative(moved.double(), last.detach()) <= 1e-5


def test_a_cpu_has_no_kernel_for_one_token():
    x, dt, a, b, c, state = (t.detach() for t in inputs(1, torch.float32))
    before = state.clone()
    assert ssd_module.update(state, x[:, 0], dt[:, 0], a, a, b[:, 0], c[:, 0], a) is None
    assert torch.equal(state, before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_the_reference():
    arguments = inputs(150, torch.float32, n=64, p=64)
    expected, last = ssd_sequential(*(tensor.double() for tensor in arguments))
    y, state = ssd(*(tensor.cuda() for tensor in arguments), chunk=64)
    tolerance = 1e-2 if ssd_module.backend("cuda") == "mamba_ssm" else 1e-5  # the kernel uses TF32
    assert relative(y.cpu(), expected.detach()) <= tolerance
    assert relative(state.cpu(), last.detach()) <= tolerance
