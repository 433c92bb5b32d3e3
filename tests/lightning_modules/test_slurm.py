"""What is read from SLURM's variables, who starts the processes of a training, and when a job is requeued."""

import os
import signal

import pytest
from lightning.fabric.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from lightning_modules.ending import clear_errors
from lightning_modules.ranks import cluster_environment
from lightning_modules.slurm import Step, current_job, current_step, first_process, requeue
from lightning_modules.stopping import Interrupted, StopRequest, handled, leaving_at_once

BATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "x"}
SRUN = {**BATCH, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}


@pytest.fixture(autouse=True)
def outside(monkeypatch):
    """No variable of a job that these tests may run in."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name in ("RANK", "LOCAL_RANK"):
            monkeypatch.delenv(name)


@pytest.fixture
def variables(monkeypatch):
    def put(more: dict[str, str]) -> None:
        for name, value in more.items():
            monkeypatch.setenv(name, value)

    return put


def test_outside_a_job(variables):
    assert (current_job(), current_step(), first_process()) == (None, None, True)
    assert type(cluster_environment(2, 1)) is LightningEnvironment
    with pytest.raises(ValueError, match=r"srun --nodes=2 --ntasks-per-node=4 \(hydra/launcher"):
        cluster_environment(4, 2)


def test_the_script_of_a_job_is_no_step_whatever_it_says_of_tasks(variables):
    variables(BATCH)
    assert current_job() == "7" and current_step() is None
    assert type(cluster_environment(2, 1)) is LightningEnvironment


def test_the_tasks_of_srun_are_the_ranks_and_lightning_saves_nothing_of_its_own(variables):
    variables(SRUN | {"SLURM_RESTART_COUNT": "3"})
    step = Step("7", 3, 1, 2)
    assert current_step() == step and step.launch == "7-3" and not first_process()
    environment = cluster_environment(2, 1)
    assert isinstance(environment, SLURMEnvironment) and not environment.auto_requeue
    assert (environment.world_size(), environment.global_rank()) == (2, 1)


def test_one_task_with_two_devices_starts_the_other_itself(variables):
    variables(SRUN | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"})
    assert type(cluster_environment(2, 1)) is LightningEnvironment


def test_processes_that_the_settings_do_not_ask_for_are_refused(variables):
    variables(SRUN)
    text = (
        r"srun started 2 processes, .*devices=4 and trainer\.nodes=1 are 4: .*--ntasks-per-node=4"
    )
    with pytest.raises(ValueError, match=text):
        cluster_environment(4, 1)


def test_torchrun_goes_before_slurm(variables):
    variables(SRUN | {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "0"})
    assert isinstance(cluster_environment(2, 1), TorchElasticEnvironment)
    with pytest.raises(ValueError, match="torchrun started 2 processes"):
        cluster_environment(3, 1)


def test_a_job_of_an_array_is_named_as_its_element(variables):
    # The element that goes by the array's own number would stand for the whole array.
    variables(BATCH | {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"})
    assert current_job() == "7_1"


@pytest.fixture
def scontrol(tmp_path, variables):
    """scontrol(state, requeue): a job of that state; what was asked is in the file that is returned."""
    asked = tmp_path / "asked"

    def put(state: str, allowed: int = 1):
        program = tmp_path / "scontrol"
        facts = f"JobId=7 JobState={state} Requeue={allowed} Command=/a=b.sh"
        program.write_text(f'#!/bin/sh\necho "$@" >> {asked}\necho "{facts}"\n')
        program.chmod(0o755)
        variables(BATCH | {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
        return asked

    return put


def test_a_running_job_is_requeued(scontrol):
    asked = scontrol("RUNNING")
    assert requeue() == "job 7 is requeued and will continue"
    assert asked.read_text().splitlines() == ["show job --oneliner 7", "requeue 7"]


@pytest.mark.parametrize(
    ("state", "allowed", "text"), [("COMPLETING", 1, "is COMPLETING"), ("RUNNING", 0, "no-requeue")]
)
def test_a_job_that_was_cancelled_or_must_not_come_back_is_not(state, allowed, text, scontrol):
    asked = scontrol(state, allowed)
    assert text in str(requeue())
    assert "requeue" not in asked.read_text().replace("--no-requeue", "")


def test_without_the_program_it_says_so(variables, monkeypatch, tmp_path):
    variables(BATCH)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "job 7 could not be requeued" in str(requeue())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_command_that_is_asked_to_stop_requeues_its_job(number, scontrol, capsys):
    asked = scontrol("RUNNING")
    with pytest.raises(SystemExit) as end, clear_errors():
        os.kill(os.getpid(), number)
    assert end.value.code == 130 and "requeue 7" in asked.read_text()
    assert f"stopped by {signal.Signals(number).name}\njob 7 is req" in capsys.readouterr().out


def test_slurm_may_end_the_job_before_scontrol_returns(scontrol, tmp_path, capsys):
    asked = scontrol("RUNNING")
    program = tmp_path / "scontrol"
    ends_all = 'if [ "$1" = requeue ]; then kill -TERM $PPID $$; sleep 0.2; fi\n'
    program.write_text(program.read_text() + ends_all)

    def told(number, frame):
        raise AssertionError("the signal reached the process")

    with handled([signal.SIGTERM], told), pytest.raises(SystemExit) as end, clear_errors():
        raise Interrupted("stopped after step 3", signal.SIGUSR1)
    assert end.value.code == 130 and "requeue 7" in asked.read_text()
    assert "stopped after step 3\njob 7 is requeued and will continue" in capsys.readouterr().out


def test_ctrl_c_does_not_requeue_and_neither_does_another_task(scontrol, variables):
    asked = scontrol("RUNNING")
    with pytest.raises(SystemExit), clear_errors():
        raise Interrupted("stopped after step 3", signal.SIGINT)
    variables(SRUN)
    with pytest.raises(SystemExit) as end, clear_errors():
        raise Interrupted("stopped after step 3", signal.SIGUSR1)
    assert end.value.code == 0, "srun would kill the first task, which has to requeue"
    assert not asked.exists()


def test_handlers_are_put_back_and_requests_are_noted():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    request = StopRequest()
    request.start()
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGTERM)
    assert request.number == signal.SIGUSR1
    request.end()
    request.end()
    with leaving_at_once(), pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert {number: signal.getsignal(number) for number in before} == before
