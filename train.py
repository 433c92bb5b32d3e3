"""Trains one model or one cell of a grid: `python train.py experiment=<name> [<group>=<option> ...]`.

The settings are in configs/; `-m` sweeps over comma-separated options.
"""

import os
from pathlib import Path

import hydra
from omegaconf import DictConfig

from lightning_modules.ending import clear_errors
from settings import plain_settings
from tasks import run

ROOT = str(Path(__file__).resolve().parent)


def share_checkout() -> None:
    """Lets the jobs of cluster launchers, which start elsewhere, import what lies beside this file.

    submitit (SLURM's sbatch exports the environment) and Ray start their workers with this environment,
    and unpickle `main`, which needs `tasks`, `data`, ..., before any code of ours runs there.
    """
    found = os.environ.get("PYTHONPATH", "")
    if ROOT not in found.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join([ROOT, found] if found else [ROOT])


@hydra.main(version_base=None, config_path="configs", config_name="train")
def main(config: DictConfig) -> None:
    with clear_errors():  # not a decorator: launchers of other processes have to pickle `main`
        run(plain_settings(config))


if __name__ == "__main__":
    share_checkout()
    main()
