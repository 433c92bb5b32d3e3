"""CosyVoice 2's language model between upstream's form and ours.

python -m tools.convert_cosyvoice2 model=models/CosyVoice2-0.5B/llm.pt out=runs/cosyvoice2_teacher
    the teacher as a model folder, to be synthesised from, scored and measured like any student
python -m tools.convert_cosyvoice2 model=runs/cosyvoice2_explore/1to1-blockbeg-paper/student out=upstream
    a student as upstream's llm.pt, with its Mamba layers in mamba.safetensors
"""

import sys
from pathlib import Path

from data.arguments import parse_arguments
from mamtra.lm.checkpoint import CheckpointError, load_lm, model_sha256, save_lm
from mamtra.transfer.cosyvoice2 import write_upstream
from mamtra.transfer.teacher import is_upstream, load_teacher


def convert(model: Path, out: Path) -> Path:
    """Write the other form of `model` into the folder `out`.

    Raises CheckpointError for a model that is neither, FileExistsError when `out` holds anything.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty: choose another out=")
    if is_upstream(model):
        lm = load_teacher(model)
        save_lm(out, lm, {"source": model.name, "source_sha256": model_sha256(model)})
    else:
        write_upstream(load_lm(model), out)
    return out


def main() -> None:
    """The command line in this file's docstring."""
    given = parse_arguments(__doc__, required=("model", "out"), optional=())
    try:
        print(f"-> {convert(Path(given['model']), Path(given['out']))}")
    except (CheckpointError, FileExistsError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
