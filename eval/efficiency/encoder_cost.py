"""stage=encoder_cost: what conditioning costs over the length of a text, per arm, beside decoder and vocoder.

Weights decide nothing about cost, so an arm can be named without a model. Every point is a process of its own,
whose peak memory is its own too; arms take turns, so that a slow minute of the machine meets all of them.
Ratios and crossover lengths are of one turn, and are printed as their median with the lowest and the highest.

N text tokens, F frames at 50 Hz (three a token, as English has).
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from csv import DictWriter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from eval.efficiency.settings import EncoderCost
from eval.store.files import InputError, write_text
from eval.synthesis.build import name_systems
from eval.synthesis.mvc_voicer import is_mvc
from mamtra.mvc.arms import ARMS
from mamtra.mvc.folder import read_mvc
from mamtra.text.phonemes import SYMBOLS

CSV = "encoder_cost.csv"
FRAMES_PER_TOKEN = 6  # of 10 ms


@dataclass(frozen=True)
class Point:
    """One arm at one length in one turn: medians of seconds, floating-point operations of conditioning (a
    multiplication and an addition are two), and how far the process's memory rose in the first call at this
    length (None where the system does not say)."""

    system: str
    turn: int
    n_tokens: int
    condition_s: float
    decode_s: float | None
    vocode_s: float | None
    flops: int
    peak_bytes: int | None
    parameters: int

    @property
    def speech_s(self) -> float:
        """Length of what is spoken."""
        return self.n_tokens * FRAMES_PER_TOKEN / 100


def encoder_cost(s: EncoderCost, console: Console) -> int:
    """Exit code 0. Raises InputError for what is neither an arm nor an exported model of one, and for a point
    that cannot be measured; the file then has those before it."""
    systems = described(s)
    if s.baseline is not None and s.baseline not in systems:
        raise InputError(f"baseline={s.baseline}: no such system; there are {', '.join(systems)}")
    if not s.lengths or min(s.lengths) < 1:
        raise InputError(f"lengths={s.lengths}: numbers of text tokens, at least one")
    if s.turns < 1:
        raise InputError(f"turns={s.turns}: at least one")
    order = [(n, turn, name) for n in s.lengths for turn in range(s.turns) for name in systems]
    points: list[Point] = []
    for n, turn, name in track(order, "conditioning", console=console):
        points.append(_in_process(s, name, systems[name], n, turn))
        write_text(s.out / CSV, _csv(points))  # what an interrupted run has measured is kept
    console.print(_table(points))
    if s.baseline is not None:
        for name in systems:
            if name != s.baseline:
                console.print(_crossover_text(points, name, s.baseline), markup=False)
    console.print(f"{s.out / CSV}", markup=False, soft_wrap=True)
    return 0


def described(s: EncoderCost) -> dict[str, dict[str, Any]]:
    """name -> arm and sizes. Raises InputError."""
    if s.model and s.models:
        raise InputError("give model= or models=, not both")
    found: dict[str, dict[str, Any]] = {}
    for name, path in name_systems(s.models or s.model).models.items():
        if is_mvc(Path(path)):
            description = read_mvc(path)
            found[name] = {"arm": description["arm"], "sizes": description["sizes"]}
        elif path in ARMS:
            found[name] = {"arm": path, "sizes": {"vocab": len(SYMBOLS), **asdict(s.sizes)}}
        else:
            raise InputError(
                f"{path}: neither a folder of a MambaVoiceCloning model nor an arm; arms: "
                f"{', '.join(ARMS)}"
            )
        if ARMS[found[name]["arm"]].leak:
            raise InputError(f"{path}: an arm that reads its target conditions on no text")
    return found


def _in_process(
    s: EncoderCost, name: str, system: Mapping[str, Any], n_tokens: int, turn: int
) -> Point:
    codec = str(s.system.codec) if s.vocode and n_tokens <= s.decode_up_to else None
    task = {
        **system,
        "system": name,
        "turn": turn,
        "n_tokens": n_tokens,
        "rounds": s.rounds,
        "threads": s.threads,
        "codec": codec,
        "n_steps": s.n_steps if n_tokens <= s.decode_up_to else None,
    }
    command = [sys.executable, "-m", "eval.efficiency.encoder_point", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise InputError(f"{name} at {n_tokens} tokens: {last[0]}")
    return Point(**json.loads(done.stdout.splitlines()[-1]))


def crossover(points: Sequence[Point], system: str, baseline: str) -> float | None:
    """Text tokens from which on `system` conditions faster than `baseline` in points of one turn, between
    measured lengths by the logarithms of both; 0 where it always does, None where it does not at the
    longest."""
    mine, base = (
        {p.n_tokens: p.condition_s for p in points if p.system == name}
        for name in (system, baseline)
    )
    lengths = sorted(mine.keys() & base.keys())
    gaps = [np.log(mine[n] / base[n]) for n in lengths]
    if not gaps or gaps[-1] >= 0:
        return None
    slower = [i for i, gap in enumerate(gaps) if gap >= 0]
    if not slower:
        return 0.0
    i = slower[-1]
    share = gaps[i] / (gaps[i] - gaps[i + 1])
    first, second = np.log(lengths[i]), np.log(lengths[i + 1])
    return float(np.exp(first + share * (second - first)))


def crossovers(points: Sequence[Point], system: str, baseline: str) -> list[float]:
    """Of every turn, lowest first; infinite where `system` is not faster at the longest text."""
    turns = sorted({p.turn for p in points})
    each = [crossover([p for p in points if p.turn == t], system, baseline) for t in turns]
    return sorted(float("inf") if found is None else found for found in each)


def _crossover_text(points: Sequence[Point], system: str, baseline: str) -> str:
    each = crossovers(points, system, baseline)
    found = median(each)
    if found == float("inf"):
        return f"{system} is not faster than {baseline} at the longest text"
    if found == 0:
        return f"{system} is faster than {baseline} at every length"
    ends = f"{each[0]:.0f} to {each[-1]:.0f} in {len(each)} turns"
    return f"{system} is faster than {baseline} from about {found:.0f} text tokens on ({ends})"


def _table(points: Sequence[Point]) -> Table:
    table = Table(title="cost of conditioning, medians over turns")
    headers = ("system", "tokens", "speech s", "condition ms", "decode ms", "vocode ms")
    for header in (*headers, "conditioning share", "GFLOP", "peak MB", "parameters"):
        table.add_column(header, justify="left" if header == "system" else "right")
    for name, n in dict.fromkeys((p.system, p.n_tokens) for p in points):
        own = [p for p in points if (p.system, p.n_tokens) == (name, n)]
        parts = [[p.condition_s for p in own], [p.decode_s for p in own], [p.vocode_s for p in own]]
        times = [
            None if None in part else median(s for s in part if s is not None) for part in parts
        ]
        known = [time for time in times if time is not None]
        share = f"{known[0] / sum(known):.1%}" if len(known) == len(times) else "–"
        peaks = [p.peak_bytes for p in own if p.peak_bytes is not None]
        peak = f"{median(peaks) / 1e6:.0f}" if peaks else "–"
        table.add_row(
            *(name, str(n), f"{own[0].speech_s:.1f}"),
            *("–" if time is None else f"{1000 * time:.1f}" for time in times),
            *(share, f"{own[0].flops / 1e9:.2f}", peak, f"{own[0].parameters:,}"),
        )
    return table


def _csv(points: Sequence[Point]) -> str:
    out = io.StringIO()
    writer = DictWriter(out, list(asdict(points[0])), lineterminator="\n")
    writer.writeheader()
    for point in points:
        writer.writerow(asdict(point))
    return out.getvalue()


def middle(times: Sequence[float]) -> float:
    """Median, rounded to a microsecond."""
    return round(median(times), 6)
