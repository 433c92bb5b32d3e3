"""A language model folder with random weights, to measure speed and memory of a plan before anybody trains it.

python -m tools.random_lm like=cosyvoice2 ratio=1to1 out=<folder> [placement=blockbeg] [dtype=bf16]

`like`: whose sizes and vocabularies it has, or a model folder that has them. What it says is noise: its
provenance says so, and no table of quality may show it.
"""

from pathlib import Path

import torch

from data.arguments import parse_arguments
from eval.efficiency.memory import sizes_like
from mamtra.backbone.layer_plan import layer_plan
from mamtra.lm.checkpoint import save_lm
from mamtra.lm.speech_lm import SpeechLM


def write_random_lm(like: str, ratio: str, out: Path, placement: str, dtype: str) -> Path:
    """Raises ValueError for an unknown ratio, placement or dtype, and CheckpointError for a folder `like` that
    is none of ours."""
    sizes, vocabularies = sizes_like(like)
    torch.manual_seed(0)
    model = SpeechLM(sizes, layer_plan(sizes.n_layers, ratio, placement), *vocabularies)
    return save_lm(out, model, {"weights": "random", "like": like, "ratio": ratio}, dtype)


def main() -> None:
    given = parse_arguments(__doc__, ("like", "ratio", "out"), ("placement", "dtype"))
    options = {"placement": "blockbeg", "dtype": "bf16"} | given
    print(f"-> {write_random_lm(**{**options, 'out': Path(options['out'])})}")


if __name__ == "__main__":
    main()
