"""Files of a run that a disk has changed: what a training depends on is refused, the rest is named."""

import pytest
import torch

from lightning_modules.run_folder import RunError, RunFolder


def test_a_flipped_bit_of_a_checkpoint_is_not_trained_on(teacher, train, tmp_path):
    """torch reads the weights as they are: the checksums of its files are ours to look at."""
    run = RunFolder(tmp_path / "run", "teacher")
    train(teacher(), run, 4, checkpoint_every=2)
    content = bytearray(run.last.read_bytes())
    weights = torch.load(run.last, weights_only=True)["state_dict"]
    value = max(weights.values(), key=torch.numel).numpy().tobytes()
    content[content.index(value) + len(value) // 2] ^= 1
    run.last.write_bytes(content)
    torch.load(run.last, weights_only=True)
    with pytest.raises(RunError, match=r"last\.ckpt is damaged \(.*data/.*delete it"):
        train(teacher(), run, 8)


@pytest.mark.parametrize(
    ("old", "new", "damaged"),
    [(b"\n2,", b"\n3,", True), (b"\n2,", b"\n\xff,", True), (b"\n4,", b"\n4,", False)],
)
def test_curves_that_were_changed_are_said_to_be(
    old, new, damaged, teacher, train, tmp_path, capsys
):
    """The training does not depend on them: it goes on."""
    run = RunFolder(tmp_path / "run", "teacher")
    train(teacher(), run, 5, checkpoint_every=2)
    path = run.path / "metrics.csv"
    content = path.read_bytes().replace(b"\r\n", b"\n")
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    train(teacher(), run, 8)
    said = capsys.readouterr().out
    assert ("metrics.csv is damaged: its rows up to step 5" in said) == damaged
