"""A folder of tools.export_hf as a model folder again, bit for bit; also after training in transformers.

python -m tools.import_hf model=<exported folder> out=<folder>

Training must keep what our layers share: the rows of x and B that the query heads of one key/value head have in
common. They stay equal in a model without Mamba layers, or where they are frozen; others are refused.
"""

import sys
from pathlib import Path

from data.arguments import parse_arguments
from mamtra.lm.checkpoint import CheckpointError, save_lm
from mamtra.transfer.granite import NoCounterpart
from tools.hf.files import WEIGHTS, ExportError, sha256
from tools.hf.write import read_export


def import_hf(model: Path, out: Path) -> Path:
    """Writes the model folder `out`.

    Weights as they were exported become the very files of before, provenance included; others are stored in
    fp32 and name what they come from. Raises ExportError, NoCounterpart, FileExistsError when `out` holds
    anything.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty: choose another out=")
    lm, before, same = read_export(model)
    if same:
        return save_lm(out, lm, before["provenance"], before["dtype"])
    source = {"imported_sha256": sha256(model / WEIGHTS), "exported_from": before["provenance"]}
    return save_lm(out, lm, source)


def main() -> None:
    """The command line in this file's docstring."""
    given = parse_arguments(__doc__, required=("model", "out"))
    try:
        print(f"-> {import_hf(Path(given['model']), Path(given['out']))}")
    except (CheckpointError, NoCounterpart, ExportError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
