"""Who starts the processes of a training, chosen on purpose: torchrun, srun or Lightning."""

import functools
import os

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from lightning_modules.slurm import current_step


def cluster_environment(devices: int, nodes: int) -> ClusterEnvironment:
    """Lightning's view of the processes of a training on `nodes` machines with `devices` each.

    torchrun's, also inside a SLURM job; else the tasks of srun where there are several; else Lightning
    starts the processes itself. Saving and requeueing are ours (`stopping`, `slurm`), so Lightning's own
    `hpc_ckpt` files are never written. Raises ValueError when the processes are not those that the
    settings ask for: they would wait for each other for ever.
    """
    if TorchElasticEnvironment.detect():
        _compare(int(os.environ["WORLD_SIZE"]), "torchrun", "--nproc_per_node", devices, nodes)
        return TorchElasticEnvironment()
    step = current_step()
    if step is not None and step.tasks > 1:
        _compare(step.tasks, "srun", "--ntasks-per-node", devices, nodes)
        # Lightning asks for it even where srun was told the number of tasks in another way.
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(devices))
        return SLURMEnvironment(auto_requeue=False)
    if nodes > 1 and "NODE_RANK" not in os.environ:  # which its users set on every machine by hand
        raise ValueError(
            f"trainer.nodes={nodes} needs a process for each device: srun --nodes={nodes} "
            f"--ntasks-per-node={devices} (hydra/launcher=slurm does), or torchrun on every machine"
        )
    return LightningEnvironment()


@functools.cache
def one_thread_in_forks() -> None:
    """Processes that fork from this one from now on compute with one thread.

    OpenMP's threads stay behind in the parent: a forked process that starts a parallel loop waits for them for
    ever, if its parent has started one before.
    """
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def _compare(found: int, who: str, option: str, devices: int, nodes: int) -> None:
    if found != devices * nodes:
        raise ValueError(
            f"{who} started {found} processes, trainer.devices={devices} and trainer.nodes={nodes} are "
            f"{devices * nodes}: change the settings or {who} {option}={devices}"
        )
