"""A teacher or student as a folder that stock transformers loads (GraniteMoeHybrid).

python -m tools.export_hf model=<model folder> codec=<folder of its system> out=<folder> [inputs=ids|embeds]

inputs=ids: text and speech share one vocabulary, `generate` takes token ids. inputs=embeds: the vocabulary is
speech, the prompt comes in as embeddings, which `embed.py` in the folder makes. Which to take: docs/serving.md.
"""

import os
import secrets
import shutil
import sys
from pathlib import Path

from data.arguments import parse_arguments
from mamtra.lm.checkpoint import CheckpointError, load_lm, read_description
from mamtra.systems import TextFrontend, system_of
from mamtra.transfer.granite import NoCounterpart, check_counterpart
from tools.hf.files import IDS, ExportError
from tools.hf.write import check_inputs, write_export


def text_frontend(codec: Path, rows: int) -> TextFrontend:
    """The frontend of a system. Raises ValueError when a model with `rows` text ids was not made for it."""
    frontend = system_of(codec).load_text(codec)
    if frontend.vocab_size != rows:
        raise ValueError(
            f"{codec}: its text has {frontend.vocab_size} ids, the model was made for {rows}; give codec= the "
            "folder of the model's system"
        )
    return frontend


def export(model: Path, codec: Path, out: Path, inputs: str = IDS) -> Path:
    """Writes the folder `out`, whole or not at all.

    Raises CheckpointError for a model that cannot be loaded, NoCounterpart naming the setting that
    GraniteMoeHybrid lacks, ExportError and ValueError for what does not fit together, FileExistsError when
    `out` holds anything.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty: choose another out=")
    description, lm = read_description(model), load_lm(model)
    check_counterpart(lm.sizes, lm.plan)
    check_inputs(lm.sizes, inputs)
    frontend = text_frontend(codec, lm.text_vocab)
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = out.parent / f".{out.name}.{os.getpid()}.{secrets.token_hex(4)}"
    scratch.mkdir()
    try:
        write_export(lm, description, frontend, scratch, inputs)
        scratch.replace(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return out


def main() -> None:
    """The command line in this file's docstring."""
    given = parse_arguments(__doc__, required=("model", "codec", "out"), optional=("inputs",))
    paths = (Path(given[key]) for key in ("model", "codec", "out"))
    try:
        print(f"-> {export(*paths, inputs=given.get('inputs', IDS))}")
    except (CheckpointError, NoCounterpart, ExportError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
