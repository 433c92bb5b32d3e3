"""Memory of a distillation step against the positions of its batch, on a CPU.

python -m tools.training_memory [layers=4] [row=256] [rows=2,4,8,16] [chunk=256] [positions=40000]
    [out=<folder>]

CosyVoice 2's width and speech vocabulary with `layers` of its 24 layers, 1:1, fp32. Each point is one step
(teacher forward, student forward and backward, the recipe's three losses) in a process of its own; counted is
what its largest resident memory exceeds that of the loaded models by. A line through the points, per layer and
for the rest, gives the 24-layer model at `positions`. Three ways: plain, the logits in chunks, and with that
the layers recomputed for their gradient, as experiment=cosyvoice2_explore does with chunks of 4,096 positions.
The chunks are smaller here, because the batches are.
"""

import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.arguments import parse_arguments
from lightning_modules.distill import DistillModule, Objective
from lightning_modules.optim import OptimizerSettings
from mamtra.backbone.layer_plan import layer_plan
from mamtra.lm.sequence import build_sequence, collate
from mamtra.lm.speech_lm import SpeechLM
from mamtra.text.qwen import QwenTokenizer
from mamtra.transfer.cosyvoice2 import N_PARAMETERS, SIZES, SPEECH_VOCAB

PLAIN, CHUNKED, RECOMPUTED = "plain", "chunked logits", "chunked logits, recomputed layers"
WAYS = (PLAIN, CHUNKED, RECOMPUTED)
TEXT_VOCAB = 1000  # its gradient is no activation: a small table leaves room to measure
FULL = Objective(1.0, 1.0, 1.0, "last_hidden", "forward", 0.1, {})
UNUSED = OptimizerSettings("adam_constant", 1e-5, (0.9, 0.999), 0.0, 0, None)  # no step is taken


def rss_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory_options(way: str, chunk: int) -> dict[str, Any]:
    """What `memory` of an experiment would say."""
    return {"logit_chunk": None if way == PLAIN else chunk, "recompute": way == RECOMPUTED}


def step_bytes(way: str, chunk: int, n_layers: int, row: int, rows: int) -> int:
    """Memory of one step on `rows` sequences of `row` positions, above that of models and gradients."""
    torch.manual_seed(0)
    sizes = replace(SIZES, n_layers=n_layers)
    teacher, student = (
        SpeechLM(sizes, layer_plan(n_layers, ratio, "blockbeg"), TEXT_VOCAB, SPEECH_VOCAB)
        for ratio in ("1:0", "1:1")
    )
    module = DistillModule(teacher, student, FULL, UNUSED, **memory_options(way, chunk))
    for parameter in student.parameters():
        parameter.grad = torch.ones_like(
            parameter
        )  # zeros would not be in memory before they change
    n_text = row // 8
    text = torch.randint(0, TEXT_VOCAB, (rows, n_text))
    speech = torch.randint(0, SPEECH_VOCAB, (rows, row - n_text - 2))
    sequences = [build_sequence(t, s, SPEECH_VOCAB) for t, s in zip(text, speech, strict=True)]
    batch = collate(sequences, [str(i) for i in range(rows)], None)
    before = rss_bytes()
    terms, _ = module.losses(batch)
    terms["loss"].backward()
    return rss_bytes() - before


def measure(way: str, chunk: int, n_layers: int, row: int, rows: int) -> int:
    """`step_bytes` in a fresh process, since a peak never falls."""
    arguments = f"{way!r}, {chunk}, {n_layers}, {row}, {rows}"
    call = f"from tools.training_memory import step_bytes; print(step_bytes({arguments}))"
    # Large tensors in pages of their own, which go back when they are freed: a heap would keep its holes.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    command = [sys.executable, "-c", call]
    options = {"capture_output": True, "text": True, "check": True, "env": environment}
    done = subprocess.run(command, **options)
    return int(done.stdout)


def fit(points: list[tuple[int, int, int]]) -> tuple[float, float, float]:
    """Least squares of bytes = constant + positions * (per_layer * layers + rest).

    points: (layers, positions, bytes). Returns (constant, per layer and position, rest per position).
    """
    rows = np.array([[1, n * layers, n] for layers, n, _ in points], dtype=float)
    values = np.array([b for _, _, b in points], dtype=float)
    scale = rows.max(axis=0)
    found, *_ = np.linalg.lstsq(rows / scale, values, rcond=None)
    constant, layer, rest = found / scale
    return float(constant), float(layer), float(rest)


def fixed_bytes() -> dict[str, int]:
    """What does not grow with the batch: fp32 weights of teacher and 1:1 student, its gradients, Adam."""
    with torch.device("meta"):
        plan = layer_plan(SIZES.n_layers, "1:1", "blockbeg")
        model = SpeechLM(SIZES, plan, QwenTokenizer.vocab_size, SPEECH_VOCAB)
    student = sum(parameter.numel() for parameter in model.parameters())
    parts = {"teacher": 4 * N_PARAMETERS, "student": 4 * student, "gradients": 4 * student}
    return parts | {"Adam": 8 * student}


def main() -> None:
    """The command line in this file's docstring."""
    optional = ("layers", "row", "rows", "chunk", "positions", "out")
    given = {"layers": "4", "row": "256", "rows": "2,4,8,16", "chunk": "256", "positions": "40000"}
    given |= parse_arguments(__doc__, required=(), optional=optional)
    n_layers, row = int(given["layers"]), int(given["row"])
    all_rows, positions = [int(n) for n in given["rows"].split(",")], int(given["positions"])
    fixed, ways = fixed_bytes(), {}
    print(f"fixed: {json.dumps({k: f'{v / 1e9:.2f} GB' for k, v in fixed.items()})}")
    for way in WAYS:
        points = [
            (layers, row * rows, measure(way, int(given["chunk"]), layers, row, rows))
            for layers in (n_layers // 2, n_layers)
            for rows in all_rows
        ]
        constant, layer, rest = fit(points)
        activations = constant + positions * (layer * SIZES.n_layers + rest)
        ways[way] = {
            "points": [dict(zip(("layers", "positions", "bytes"), p, strict=True)) for p in points],
            "bytes_per_layer_and_position": round(layer),
            "other_bytes_per_position": round(rest),
            "activations_gb": round(activations / 1e9, 1),
            "total_gb": round((activations + sum(fixed.values())) / 1e9, 1),
        }
        shown = {name: value for name, value in ways[way].items() if name != "points"}
        print(f"{way}: {json.dumps(shown)}", flush=True)
    if "out" in given:
        path = Path(given["out"]) / "training_memory.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"dtype": "fp32", "chunk": int(given["chunk"]), "positions": positions}
        content |= {"fixed_bytes": fixed, "ways": ways}
        path.write_text(json.dumps(content, indent=1) + "\n")
        print(f"-> {path}")


if __name__ == "__main__":
    main()
