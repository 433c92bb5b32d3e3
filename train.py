"""Trains one model or one cell of a grid: `python train.py experiment=<name> [<group>=<option> ...]`.

The settings are in configs/; `-m` sweeps over comma-separated options.
"""

import hydra
from omegaconf import DictConfig

from lightning_modules.running import clear_errors
from settings import plain_settings
from tasks import run


@hydra.main(version_base=None, config_path="configs", config_name="train")
def main(config: DictConfig) -> None:
    with clear_errors():  # not a decorator: launchers of other processes have to pickle `main`
        run(plain_settings(config))


if __name__ == "__main__":
    main()
