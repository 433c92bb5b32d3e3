"""Whose a cell of a sweep is: of srun's tasks, of torchrun's, of one process."""

import os

import pytest

from lightning_modules import launched
from lightning_modules.launched import meeting, shared_step, torchrun_step, without_torchrun
from lightning_modules.slurm import Step

ELASTIC = {"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_RESTART_COUNT": "1", "RANK": "1"}
ELASTIC |= {"LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "here", "MASTER_PORT": "29500"}


@pytest.fixture
def torchrun(monkeypatch):
    for name in launched.TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    for name, value in ELASTIC.items():
        monkeypatch.setenv(name, value)


def test_outside_there_is_nobody_to_share_with(monkeypatch):
    for name in (*launched.TORCHRUN, "SLURM_JOB_ID", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    assert torchrun_step() is None and shared_step(2, 0) is None and meeting(None) == {}


def test_processes_of_torchrun_share_cells_of_as_many(torchrun, monkeypatch):
    step = shared_step(2, 3)
    assert step == Step("x-cell3", 1, 1, 2) and shared_step(2, 4) != step
    found = meeting(step)
    assert found["TORCHELASTIC_USE_AGENT_STORE"] == "False" and int(found["MASTER_PORT"]) > 0
    assert found["MASTER_PORT"] != "29500"
    with pytest.raises(ValueError, match=r"torchrun started 2 processes, a cell has 4"):
        shared_step(4, 0)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")  # without --standalone all have this one
    assert shared_step(2, 3) == Step(f"agent{os.getppid()}-cell3", 1, 1, 2)


def test_cells_of_one_process_are_no_ranks(torchrun):
    assert shared_step(1, 0) is None
    left = without_torchrun()
    assert not ELASTIC.keys() & left.keys() and left["PATH"] == os.environ["PATH"]
