"""The performance tables: batches, contexts, plans and dtypes beside transformers, one folder for each machine.

python -m tools.bench [out=results/efficiency/<machine>] [models=runs/bench] [only=context,batch] [quick=true]
    [device=cuda:0]

    mini         the mini teacher and hybrids of its size at 300 positions: codec, first token, batches
    mini_long    the same at 2,048 positions: steps alone
    compiled     the mini models with plain and with compiled steps
    first_token  CosyVoice 2's size: the prompt is read
    context      CosyVoice 2's size, one stream: steps at 300 to 32,768 positions
    batch        16 streams
    dtype        fp32 beside bf16
    graphs       CosyVoice 2's size on a GPU: plain steps and CUDA graphs, one stream and 16

All but `dtype` is in bf16 where the device computes in it, else in fp32: emulated, a linear layer takes ten
times as long. Where it is emulated, `dtype` is left out, `compiled` where no compiler is found, and `graphs` on
a processor; the output says so.
The hybrids and everything of CosyVoice 2's size have random weights (tools/random_lm.py, written to `models`
once): speed does not depend on what is said. `quick=true` makes every number small, to see that all of it runs.
"""

import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hydra import compose, initialize_config_dir
from rich.console import Console

from data.arguments import parse_arguments
from eval.efficiency.memory import COSYVOICE2
from eval.efficiency.settings import Efficiency
from eval.stages import run_efficiency
from eval.store.files import InputError
from eval.store.manifest import REPOSITORY, check_device, device_description
from mamtra.lm.runtime import can_compile, emulated
from settings import typed_settings
from tools.random_lm import write_random_lm

PLANS = ("1to0", "1to1", "1to11")
LARGE = {"vocode": "false", "n_tokens": "16"}  # in the fast dtype of the device
UNREAD = {"vocode": "false", "prefill": "false"}  # caches start full of noise
STEPS = LARGE | UNREAD
BOTH, BATCHED = "[cosyvoice2,no_text_head]", "[no_text_head]"
QUICK = {"contexts": "[16]", "n_tokens": "2", "rounds": "3"}


@dataclass(frozen=True)
class Table:
    """One run of stage=efficiency. `like`: whose size its models have; `settings` of the stage."""

    like: str
    baseline: str
    settings: Mapping[str, str] = field(default_factory=dict)


MINI = "assets/mini/teacher"
TABLES = {
    "mini": Table(
        MINI,
        "1to0",
        {"batches": "[1,16]", "contexts": "[300]", "n_tokens": "32", "peers": BOTH},
    ),
    "mini_long": Table(
        MINI,
        "1to0",
        UNREAD | {"batches": "[1,16]", "contexts": "[2048]", "n_tokens": "32", "peers": BOTH},
    ),
    "compiled": Table(
        MINI,
        "1to0",
        UNREAD | {"contexts": "[300]", "compiled": "[false,true]", "n_tokens": "32"},
    ),
    "first_token": Table(
        COSYVOICE2, "1to0", LARGE | {"contexts": "[300]", "rounds": "3", "peers": BOTH}
    ),
    "context": Table(
        COSYVOICE2, "1to0", STEPS | {"contexts": "[300,2048,8192,32768]", "peers": BOTH}
    ),
    "batch": Table(
        COSYVOICE2,
        "1to0",
        STEPS | {"contexts": "[300,2048]", "batches": "[16]", "rounds": "3", "peers": BATCHED},
    ),
    "dtype": Table(COSYVOICE2, "1to0 fp32", STEPS | {"contexts": "[300]", "dtypes": "[fp32,bf16]"}),
    "graphs": Table(
        COSYVOICE2,
        "1to0",
        STEPS
        | {
            "contexts": "[300,8192]",
            "batches": "[1,16]",
            "compiled": "[false,true]",
            "n_tokens": "64",
        },
    ),
}


def machine_name(device: str) -> str:
    """A folder's name for this machine: its GPU, or its processor and the threads that torch uses."""
    machine = device_description(device)
    on_gpu = machine["device"] != "cpu"
    parts = [machine["device"]] if on_gpu else [machine["processor"], str(machine["torch_threads"])]
    return "-".join(re.sub(r"[^A-Za-z0-9]+", "-", part).strip("-") for part in parts)


def fast_dtype(device: str) -> str:
    return "fp32" if emulated(device, "bf16") else "bf16"


def models_of(like: str, folder: Path) -> dict[str, str]:
    """Name of a plan -> model folder; a model that exists is that of all-attention plans."""
    found = {}
    for ratio in PLANS:
        path = folder / f"{'cosyvoice2' if like == COSYVOICE2 else 'mini'}-{ratio}"
        if like != COSYVOICE2 and ratio == "1to0":
            path = Path(like)
        elif not (path / "model.json").is_file():
            write_random_lm(like, ratio, path, "blockbeg", "bf16")
        found[ratio] = str(path)
    return found


def measure_table(table: Table, models: Path, out: Path, more: Mapping[str, str]) -> None:
    """Runs stage=efficiency for one table. `more` replaces settings of it. Errors as the stage's own."""
    named = ", ".join(f"{name}: {path}" for name, path in models_of(table.like, models).items())
    settings = {"models": f"{{{named}}}", "baseline": table.baseline, "out": str(out)}
    if table.like == COSYVOICE2:
        settings["dtypes"] = f"[{fast_dtype(more.get('device', 'cpu'))}]"
    words = [f"{key}={value}" for key, value in {**settings, **table.settings, **more}.items()]
    with initialize_config_dir(str(REPOSITORY / "configs"), version_base="1.3"):
        config = compose("evaluate", overrides=["stage=efficiency", *words])
    run_efficiency(typed_settings(Efficiency, config), Console())


def usual(device: str) -> list[str]:
    """The tables that say something on this machine; prints which do not."""
    left_out = {}
    if fast_dtype(device) != "bf16":
        left_out["dtype"] = "the processor does not compute in bf16"
    if device == "cpu":
        left_out["graphs"] = "a processor has none"
    if not can_compile(device):
        left_out["compiled"] = "no C++ compiler is on the PATH (g++ or clang++)"
    for name, why in left_out.items():
        print(f"{name}: left out, {why}")
    return [name for name in TABLES if name not in left_out]


def main() -> None:
    given = parse_arguments(__doc__, (), ("out", "models", "only", "quick", "device"))
    device = given.get("device", "cpu")
    try:
        check_device(device)
    except InputError as error:
        sys.exit(f"error: {error}")
    out = Path(given.get("out", f"results/efficiency/{machine_name(device)}"))
    models, names = (
        Path(given.get("models", "runs/bench")),
        given.get("only", ",".join(usual(device))),
    )
    more = {"device": device} | (QUICK if given.get("quick") == "true" else {})
    if unknown := set(names.split(",")) - TABLES.keys():
        sys.exit(f"only={names}: no such table {', '.join(sorted(unknown))}\n\n{__doc__}")
    try:
        for name in names.split(","):
            begun = time.monotonic()
            measure_table(TABLES[name], models, out / name, more)
            print(f"{name}: {(time.monotonic() - begun) / 60:.1f} minutes", flush=True)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
