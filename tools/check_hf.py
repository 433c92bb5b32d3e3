"""Whether transformers computes what an exported folder's golden file says.

python -m tools.check_hf model=<exported folder>

Prints the largest difference of every kind of tensor, as a part of its largest value; exits with 1 above 3e-5.
"""

import sys
from pathlib import Path

from data.arguments import parse_arguments
from tools.hf.files import OURS_WEIGHTS, ExportError, read_ours, read_tensors
from tools.hf.golden import LIMIT, compare, read_golden
from tools.hf.write import speech_rows


def check(folder: Path) -> dict[str, float]:
    """Largest difference of every golden tensor to the model that AutoModelForCausalLM loads.

    Raises ExportError for a folder that is not a whole export, and for a golden file of other weights.
    """
    golden, ours = read_golden(folder), read_ours(folder)
    bias = read_tensors(folder / OURS_WEIGHTS)["llm_decoder.bias"]
    from transformers import AutoModelForCausalLM  # loads slowly

    model = AutoModelForCausalLM.from_pretrained(str(folder)).eval()
    return compare(model, golden, bias, speech_rows(ours))


def worst(differences: dict[str, float]) -> dict[str, float]:
    """The largest difference of each kind of tensor; layers are one kind."""
    kinds: dict[str, float] = {}
    for name, value in differences.items():
        kind = ".".join(part for part in name.split(".") if not part.isdigit())
        kinds[kind] = max(kinds.get(kind, 0.0), value)
    return kinds


def main() -> None:
    """The command line in this file's docstring."""
    given = parse_arguments(__doc__, required=("model",))
    try:
        found = worst(check(Path(given["model"])))
    except (ExportError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    for kind, value in found.items():
        print(f"{kind:16} {value:.1e}")
    sys.exit(any(not value <= LIMIT for value in found.values()))


if __name__ == "__main__":
    main()
