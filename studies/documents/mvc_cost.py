"""What MambaVoiceCloning's conditioning costs over the length of a text, and its streamed speech."""

from __future__ import annotations

from statistics import median
from typing import Any

from eval.efficiency.encoder_cost import Point, crossovers
from eval.store.files import InputError
from studies.documents.sources import Sources, markdown

COST = "results/open/mvc/encoder_cost.csv"
STREAM = "results/open/mvc/stream.json"
OURS = "mvc"
PARTS = {"share": "condition_s", "decoder": "decode_s", "vocoder": "vocode_s"}


def _points(sources: Sources) -> list[Point]:
    kinds = {"system": str, "condition_s": float, "decode_s": float, "vocode_s": float}
    found = []
    for row in sources.csv(COST):
        known: dict[str, Any] = {
            n: None if v != v else kinds.get(n, int)(v) for n, v in row.items()
        }
        found.append(Point(**known))
    return found


def _ratio(points: list[Point], system: str, n_tokens: int, part: str) -> list[float]:
    """Of every turn, lowest first: `part` of `mvc` in that of `system`."""
    turns: dict[int, dict[str, float]] = {}
    for p in points:
        if p.n_tokens == n_tokens:
            turns.setdefault(p.turn, {})[p.system] = float(getattr(p, part))
    return sorted(both[system] / both[OURS] for both in turns.values())


def _spread(each: list[float]) -> str:
    """Median of the turns with the lowest and the highest; `each`: lowest first."""
    return f"{median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})"


def cost_table(sources: Sources) -> str:
    """Milliseconds of conditioning by number of text tokens; memory, time in that of `mvc` at the longest."""
    points = _points(sources)
    lengths = sorted({p.n_tokens for p in points})
    systems = list(dict.fromkeys(p.system for p in points))
    rows = []
    for name in systems:
        own = [p for p in points if p.system == name]
        times = [median(1000 * p.condition_s for p in own if p.n_tokens == n) for n in lengths]
        peaks = [
            p.peak_bytes for p in own if p.n_tokens == lengths[-1] and p.peak_bytes is not None
        ]
        peak = f"{median(peaks) / 1e6:.0f}" if peaks else "–"
        faster = _ratio(points, name, lengths[-1], "condition_s")
        told = "1" if name == OURS else _spread(faster)
        rows.append(
            [f"`{name}`", f"{own[0].parameters / 1e6:.2f}", *(f"{t:.0f}" for t in times)]
            + [peak, told]
        )
    headers = ["arm", "parameters, M", *(f"ms at {n}" for n in lengths)]
    last = f"its time in that of `{OURS}`, at {lengths[-1]}"
    return markdown([*headers, f"peak MB at {lengths[-1]}", last], rows)


def cost_values(sources: Sources, name: str) -> str:
    """Of an arm: `faster.<arm>`, `lighter.<arm>` (its time, its peak of memory in that of `mvc` at the longest
    text), `crossover.<arm>` (text tokens from which on `mvc` is faster). Of `mvc` from text to sound, at the
    longest text that was spoken: `share`, `decoder`, `vocoder` in %, `rtf` without the vocoder. `longest`,
    `spoken`: those lengths in text tokens. Raises InputError for another name."""
    points = _points(sources)
    longest = max(p.n_tokens for p in points)
    what, _, arm = name.partition(".")
    if arm in {p.system for p in points}:
        if what in ("faster", "lighter"):
            part = {"faster": "condition_s", "lighter": "peak_bytes"}[what]
            return _spread(_ratio(points, arm, longest, part))
        if what == "crossover":
            ends = crossovers(points, OURS, arm)
            told = ["no length" if n == float("inf") else f"{n:.0f}" for n in (ends[0], ends[-1])]
            return " to ".join(dict.fromkeys(told))
    spoken = [p for p in points if p.system == OURS and p.vocode_s is not None]
    if name == "longest":
        return str(longest)
    if spoken and name in ("spoken", "rtf", *PARTS):
        n_tokens = max(p.n_tokens for p in spoken)
        if name == "spoken":
            return str(n_tokens)
        if name == "rtf":
            seconds = [
                p.condition_s + float(p.decode_s or 0) for p in spoken if p.n_tokens == n_tokens
            ]
            return f"{median(seconds) / spoken[-1].speech_s:.3f}"
        own = [
            {part: float(getattr(p, field)) for part, field in PARTS.items()}
            for p in spoken
            if p.n_tokens == n_tokens
        ]
        return f"{100 * median(each[name] / sum(each.values()) for each in own):.0f}"
    raise InputError(
        f"no value mvc_cost.{name}: faster.<arm>, lighter.<arm>, crossover.<arm>, {', '.join(PARTS)}, "
        "longest, spoken"
    )


# of a row of tools.bench_mvc_stream: header, digits
STREAMED = {
    "first_ms": ("first sound after, ms", 0),
    "first_tokens": ("phonemes read", 1),
    "rtf": ("RTF", 3),
    "kilobytes": ("carried over, KB", 0),
    "growth": ("growth", 2),
    "distance_db": ("distance, dB", 2),
    "joint": ("step of level", 2),
    "joints": ("joints", 0),
}


def stream_table(sources: Sources) -> str:
    """One row for each number of frames that the decoder waits for."""
    rows = []
    for row in sources.json(STREAM)["rows"]:
        values = [
            "–" if row[name] is None else f"{row[name]:.{digits}f}"
            for name, (_, digits) in STREAMED.items()
        ]
        rows.append([f"{20 * row['ahead']}", *values])
    return markdown(["decoder waits, ms", *(header for header, _ in STREAMED.values())], rows)
