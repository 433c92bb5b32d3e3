"""What is said of what runs: a processor without a dtype, compiled steps."""

import pytest
import torch

from mamtra.lm import runtime as runtime_module
from mamtra.lm.runtime import emulated, runtime, runtime_text


def test_fp32_is_never_emulated_and_half_precision_is_asked_of_the_processor():
    assert not emulated("cpu", "fp32")
    for dtype in ("bf16", "fp16"):
        native = getattr(torch.ops.mkldnn, f"_is_mkldnn_{dtype}_supported")()
        assert emulated("cpu", dtype) is not native


@pytest.mark.parametrize("lacks", [True, False])
def test_a_dtype_that_the_processor_lacks_is_said(monkeypatch, lacks):
    monkeypatch.setattr(runtime_module, "emulated", lambda device, dtype: lacks)
    facts = runtime("cpu", "bf16", compiled=True)
    assert facts["dtype"] == ("bf16 (emulated)" if lacks else "bf16")
    said = runtime_text(facts)
    assert said == f"cpu, {facts['dtype']}, compiled steps, ssd torch"
