"""Time and memory of a distillation step by plan: one row for each, plans in turns.

python -m tools.bench_training out=<folder> [like=cosyvoice2] [plans=1to0,1to1,1to11] [rows=4] [positions=256]
    [rounds=5] [device=cpu] [state=per_head]

A step is the teacher's forward pass, and the student's forward and backward pass with the recipe's losses, on
`rows` sequences of `positions`; no optimizer. Random weights, fp32. `like`: whose sizes, or a folder.
The peak is a GPU's; a CPU's memory is measured by tools/training_memory.py, in processes of their own.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from data.arguments import parse_arguments
from eval.efficiency.memory import COSYVOICE2, sizes_like
from eval.store.files import InputError, write_json
from eval.store.manifest import check_device, device_description, git_state, package_versions
from lightning_modules.distill import DistillModule
from mamtra.backbone.layer_plan import layer_plan
from mamtra.lm.checkpoint import CheckpointError
from mamtra.lm.sequence import SequenceBatch, build_sequence, collate
from mamtra.lm.speech_lm import SpeechLM
from tools.training_memory import FULL, UNUSED

FILE = "training.json"


def made_up_batch(lm: SpeechLM, rows: int, positions: int) -> SequenceBatch:
    """`rows` sequences of `positions`, an eighth of them text."""
    n_text = max(1, positions // 8)
    text = torch.randint(0, lm.text_vocab, (rows, n_text))
    speech = torch.randint(0, lm.speech_vocab, (rows, positions - n_text - 2))
    pairs = zip(text, speech, strict=True)
    sequences = [build_sequence(t, s, lm.speech_vocab) for t, s in pairs]
    return collate(sequences, [str(i) for i in range(rows)], None)


def _step(module: DistillModule, batch: SequenceBatch, device: str) -> tuple[float, int | None]:
    """(seconds, peak bytes on a GPU beyond what lay there) of one step; the gradients are gone after it."""
    on_gpu, before = device.startswith("cuda"), 0
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    start = time.perf_counter()
    terms, _ = module.losses(batch)
    terms["loss"].backward()
    peak = None
    if on_gpu:
        torch.cuda.synchronize(device)
        peak = torch.cuda.max_memory_allocated(device) - before
    taken = time.perf_counter() - start
    module.zero_grad(set_to_none=True)
    return taken, peak


def measure_training(
    like: str,
    plans: list[str],
    *,
    rows: int,
    positions: int,
    rounds: int,
    device: str = "cpu",
    state: str = "per_head",
) -> list[dict[str, Any]]:
    """One row per plan; in every round each plan has its turn, and a round before them warms up.

    Raises InputError for sizes that measure nothing or an unknown plan, CheckpointError for a folder `like`.
    """
    if rows < 1 or positions < 8 or rounds < 3:
        raise InputError(
            f"rows={rows} positions={positions} rounds={rounds}: at least 1 row, 8 positions, 3 rounds"
        )
    check_device(device)
    sizes, vocabularies = sizes_like(like)
    sizes = replace(sizes, state=state)
    torch.manual_seed(0)
    try:
        made = {ratio: layer_plan(sizes.n_layers, ratio, "blockbeg") for ratio in plans}
        teacher_plan = layer_plan(sizes.n_layers, "1to0", "blockbeg")
    except ValueError as error:
        raise InputError(f"plans={','.join(plans)}: {error}") from None
    teacher = SpeechLM(sizes, teacher_plan, *vocabularies).to(device)
    modules = {
        ratio: DistillModule(teacher, SpeechLM(sizes, plan, *vocabularies), FULL, UNUSED).to(device)
        for ratio, plan in made.items()
    }
    batch = made_up_batch(teacher, rows, positions).to(device)
    taken: dict[str, list[tuple[float, int | None]]] = {ratio: [] for ratio in modules}
    for number in range(rounds + 1):
        for ratio, module in modules.items():
            one = _step(module, batch, device)
            if number:
                taken[ratio].append(one)
    found = []
    for ratio, steps in taken.items():
        seconds, peaks = zip(*steps, strict=True)
        found.append(
            {
                "plan": ratio,
                "step_s": median(seconds),
                "step_s_low": min(seconds),
                "step_s_high": max(seconds),
                "positions_per_s": rows * positions / median(seconds),
                "peak_bytes": None if None in peaks else max(peaks),
                "weight_bytes": sum(p.nbytes for p in modules[ratio].model.parameters()),
            }
        )
    return found


def main() -> None:
    """The command line in this file's docstring."""
    optional = ("like", "plans", "rows", "positions", "rounds", "device", "state")
    given = {"like": COSYVOICE2, "plans": "1to0,1to1,1to11", "rows": "4", "positions": "256"}
    given |= {"rounds": "5", "device": "cpu", "state": "per_head"}
    given |= parse_arguments(__doc__, ("out",), optional)
    settings = {name: int(given[name]) for name in ("rows", "positions", "rounds")}
    like, plans = given["like"], given["plans"].split(",")
    device, state = given["device"], given["state"]
    try:
        found = measure_training(like, plans, device=device, state=state, **settings)
    except (InputError, CheckpointError, ValueError) as error:
        sys.exit(f"error: {error}")
    for row in found:
        print(
            f"{row['plan']}: {row['step_s']:.3f} s a step, {row['positions_per_s']:,.0f} positions/s"
        )
    content = {
        "machine": device_description(device),
        "settings": {name: given[name] for name in ("like", "state")} | settings,
        "git": git_state(),
        "packages": package_versions(),
        "rows": found,
    }
    path = Path(given["out"]) / FILE
    write_json(path, content)
    print(f"-> {path}")


if __name__ == "__main__":
    main()
