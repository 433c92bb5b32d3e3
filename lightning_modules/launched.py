"""Tasks that a launcher started together for one command: srun's, or torchrun's. Standard library only."""

import os
import socket
from dataclasses import replace

from lightning_modules.slurm import Step, current_step

# What torchrun tells its processes; one that is not to be its rank must not see it.
TORCHRUN = ("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
TORCHRUN += ("GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT")
TORCHRUN += ("TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS", "TORCHELASTIC_RUN_ID")
TORCHRUN += ("TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_ERROR_FILE")


def torchrun_step() -> Step | None:
    """This process as one of torchrun's, None where torchrun did not start it."""
    run = os.environ.get("TORCHELASTIC_RUN_ID")
    if run is None:
        return None
    # Without --standalone or --rdzv-id every run has the same name; processes of one machine have one agent.
    name = f"agent{os.getppid()}" if run == "none" else run
    names = ("RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    rank, tasks, attempt = (int(os.environ[n]) for n in names)
    return Step(name, attempt, rank, tasks)


def shared_step(world_size: int, cell: int) -> Step | None:
    """The tasks with which this process shares cell number `cell` of a sweep, None where it is alone with it.

    Tasks of srun have a cell of their own, a job each. Those of torchrun share cells of as many processes
    as they are; cells of one process they take by turns, as any number of runners does. Raises ValueError
    for cells of another number of processes.
    """
    step = torchrun_step()
    if step is None:
        return current_step()
    if world_size == 1:
        return None
    if step.tasks != world_size:
        raise ValueError(
            f"torchrun started {step.tasks} processes, a cell has {world_size} (trainer.devices x "
            "trainer.nodes): start as many, or as many runners as you like with trainer.devices=1"
        )
    return replace(step, job=f"{step.job}-cell{cell}")


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("", 0))
        return found.getsockname()[1]


def meeting(step: Step | None) -> dict[str, str]:
    """Where the ranks of a training that shares the cell meet: chosen by the first, told to the others.

    Those of torchrun find the addresses of the cell before in the store that torchrun keeps.
    """
    if step is None or torchrun_step() is None:
        return {}
    return {"MASTER_PORT": str(free_port()), "TORCHELASTIC_USE_AGENT_STORE": "False"}


def without_torchrun() -> dict[str, str]:
    """The environment of a command that is no rank of torchrun's."""
    return {name: value for name, value in os.environ.items() if name not in TORCHRUN}
