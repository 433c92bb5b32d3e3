"""Who may read a written file of tensors: as of any other file, the umask decides."""

import os

import pytest
import torch
from safetensors.torch import load_file

from mamtra.weights_file import save_tensors


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_umask_decides_who_may_read(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        path = tmp_path / "x.safetensors"
        for _ in range(2):  # a file that is replaced, too
            save_tensors({"a": torch.ones(2)}, path, {"format": "pt"})
            assert path.stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)
    assert torch.equal(load_file(path)["a"], torch.ones(2))
