"""One point of stage=encoder_cost, in a process of its own: a task as JSON in, a `Point` as JSON out."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from eval.efficiency.encoder_cost import FRAMES_PER_TOKEN, Point, middle
from mamtra.mvc.arms import n_parameters
from mamtra.mvc.model import MVC, SURE, build
from mamtra.mvc.sizes import MVCSizes
from mamtra.mvc.voice import Voices
from mamtra.speech import load_codec

PROCESS = Path("/proc/self")  # of Linux
RESET_PEAK = "5"  # man 5 proc, clear_refs


def timed(call: Callable[[], object], rounds: int) -> float:
    """Median seconds of a call, after one that does not count."""
    call()
    times = []
    for _ in range(rounds):
        start_s = time.perf_counter()
        call()
        times.append(time.perf_counter() - start_s)
    return middle(times)


def rise(call: Callable[[], object]) -> int | None:
    """Bytes by which the resident memory of this process rises in a call; None where there is no Linux to ask.

    The peak is set back first: it is otherwise that of all the process did before, and hides what is below it.
    """
    if not (PROCESS / "clear_refs").exists():
        return None
    gc.collect()
    (PROCESS / "clear_refs").write_text(RESET_PEAK)
    before = _kilobytes("VmRSS")
    call()
    return 1024 * max(_kilobytes("VmHWM") - before, 0)


def _kilobytes(name: str) -> int:
    lines = (PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def inputs(model: MVC, n_tokens: int) -> tuple[torch.Tensor, torch.Tensor, Voices, torch.Tensor]:
    """One random text of `n_tokens`, its length, a random voice, and durations."""
    generator = torch.Generator().manual_seed(n_tokens)
    ids = torch.randint(model.sizes.vocab, (1, n_tokens), generator=generator)
    voice = torch.randn(1, model.sizes.d_voice, generator=generator)
    mel = torch.randn(1, 300, 80, generator=generator)
    voices = Voices(torch.nn.functional.normalize(voice), mel, torch.tensor([300]))
    return ids, torch.tensor([n_tokens]), voices, torch.full((1, n_tokens), FRAMES_PER_TOKEN)


@torch.inference_mode()
def point(task: Mapping[str, Any]) -> Point:
    """Measure what the task names."""
    torch.set_num_threads(task["threads"])
    torch.manual_seed(0)
    model = build(MVCSizes(**task["sizes"]), task["arm"]).eval()
    given, rounds = inputs(model, task["n_tokens"]), task["rounds"]
    model.condition(*inputs(model, 2))  # what libraries allocate once is no activation
    peak = rise(lambda: model.condition(*given))
    condition_s = timed(lambda: model.condition(*given), rounds)
    # Without oneDNN, whose recurrent layers are one operation that nobody counts.
    with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
        made = model.condition(*given)
    decode_s = vocode_s = None
    prosody, parts = made.prosody, (made.prosody.mu, made.prosody.told(), made.style, made.rows)
    if task["n_steps"] is not None:
        noise = torch.randn(prosody.mu.shape)
        decode_s = timed(lambda: model.decoder.sample(noise, *parts, task["n_steps"]), rounds)
    if task["codec"] is not None:
        codec = load_codec(task["codec"])
        mel = prosody.mu[0].unflatten(-1, (2, -1)).flatten(0, 1)
        voicing = torch.full_like(prosody.log_f0[0], SURE)
        frames = torch.cat((mel, prosody.log_f0[0, :, None], voicing[:, None]), dim=-1)
        vocode_s = timed(lambda: codec.vocode(frames), rounds)
    parameters = sum(n_parameters(part) for part in model.conditioning())
    return Point(
        system=task["system"],
        turn=task["turn"],
        n_tokens=task["n_tokens"],
        condition_s=condition_s,
        decode_s=decode_s,
        vocode_s=vocode_s,
        flops=counter.get_total_flops(),
        peak_bytes=peak,
        parameters=parameters,
    )


if __name__ == "__main__":
    print(json.dumps(asdict(point(json.loads(sys.argv[1])))))
