"""What SLURM says about this process, and its queue. Standard library only, as `stopping`.

A *job* may have several *steps* (calls of srun), and a step several *tasks* (processes of one command).
"""

import os
import subprocess
from dataclasses import dataclass

SCONTROL_S = 60.0


@dataclass(frozen=True)
class Step:
    """The step that this process is a task of. `rank` counts its `tasks`, over all nodes."""

    job: str  # as scontrol takes it: "12", in an array "12_3"
    restarts: int  # how often the job was requeued
    rank: int
    tasks: int

    @property
    def launch(self) -> str:
        """A name that no other start of any job of the cluster has."""
        return f"{self.job}-{self.restarts}"


def current_job() -> str | None:
    """The job that this process runs in, None outside SLURM."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def restarts() -> int:
    """How often the job of this process was requeued."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def current_step() -> Step | None:
    """The step of this process, None where srun did not start it.

    The script of an sbatch job is no step, although SLURM_NTASKS and SLURM_PROCID are set there.
    """
    job = current_job()
    if job is None or "SLURM_STEP_ID" not in os.environ:
        return None
    rank, tasks = (int(os.environ[f"SLURM_{name}"]) for name in ("PROCID", "STEP_NUM_TASKS"))
    return Step(job, restarts(), rank, tasks)


def first_process() -> bool:
    """Whether no other process of this run, however it was started, comes before this one."""
    names = ("SLURM_PROCID", "RANK", "LOCAL_RANK", "NODE_RANK")
    return all(os.environ.get(name, "0") == "0" for name in names)


def requeue() -> str | None:
    """Puts the job of this process into the queue again; None outside SLURM, else what came of it.

    Only a job that is running and may be requeued: one that SLURM ends already (scancel, its time limit)
    would come back although nobody wants it. SLURM then ends this process too.
    """
    job = current_job()
    if job is None:
        return None
    try:
        found = _scontrol("show", "job", "--oneliner", job)
        facts = dict(word.split("=", 1) for word in found.split() if "=" in word)
        state = facts.get("JobState", "UNKNOWN")
        if state != "RUNNING":
            return f"job {job} is {state}: not requeued"
        if facts.get("Requeue") != "1":
            return f"job {job} was submitted with --no-requeue: not requeued"
        _scontrol("requeue", job)
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or str(error)
        return f"job {job} could not be requeued: {told.strip()}"
    return f"job {job} is requeued and will continue"


def _scontrol(*words: str) -> str:
    command = ["scontrol", *words]
    options = {"capture_output": True, "text": True, "check": True, "timeout": SCONTROL_S}
    return subprocess.run(command, **options).stdout  # type: ignore[call-overload]
