"""stage=efficiency: speed and memory of models, measured in turns in one run.

    <out>/efficiency.json   machine, settings, one row per system and context length
    <out>/efficiency.csv    the rows, for notebooks

Absolute times hold for one machine at one time; ratios between systems of one run are what can be compared.
Rows of different runs are never in one table.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from eval.progress import progress_bar
from eval.report.terminal import number_table
from eval.store.files import InputError, sha256_json, write_json, write_text
from eval.store.manifest import device_description, git_state, package_versions
from eval.synthesis.model_voicer import check_model_folder
from eval.synthesis.systems import CODEC, RECORDINGS
from mamtra.tts import Synthesizer

FILE = "efficiency.json"
SPECIAL = 2  # positions of sos and task


@dataclass(frozen=True)
class Measured:
    """Medians over the rounds, and the range of the rate. RTF: seconds of work per second of speech.

    `lm_rtf` holds the reading of the context, too. Peaks are those of a round of their own, on GPUs only: what
    lay there beyond the models before it.
    """

    system: str
    context: int  # positions before the first new token
    first_token_s: float
    tokens_per_s: float
    tokens_per_s_low: float
    tokens_per_s_high: float
    lm_rtf: float
    codec_rtf: float
    state_bytes: int  # all that decoding holds for `context` positions
    weight_bytes: int  # of the language model
    peak_allocated_bytes: int | None
    peak_reserved_bytes: int | None


class Timed(Protocol):
    """What is measured of one system."""

    token_rate_hz: float
    weight_bytes: int

    def speak(self, context: int, n_tokens: int) -> Iterator[int]:
        """`n_tokens` new tokens after `context` positions, each when it is there."""
        ...

    def vocode(self, tokens: Sequence[int]) -> float:
        """Makes a waveform of tokens; its length in seconds."""
        ...

    def state_bytes(self, context: int) -> int: ...


class TimedModel:
    """A synthesiser that continues random text and speech. The codec's voice is that of one second of noise."""

    def __init__(self, synthesizer: Synthesizer) -> None:
        self.lm, self.codec = synthesizer.lm, synthesizer.codec
        self.sampling = {
            name: value
            for name, value in synthesizer.sampling.items()
            if name not in ("min_ratio", "max_ratio")
        }
        self.token_rate_hz = self.codec.token_rate_hz
        tensors = [*self.lm.parameters(), *self.lm.buffers()]
        self.weight_bytes = sum(tensor.nbytes for tensor in tensors)
        noise = torch.randn(synthesizer.input_rate_hz, generator=torch.Generator().manual_seed(0))
        self.voice = self.codec.voice(0.1 * noise)

    def speak(self, context: int, n_tokens: int) -> Iterator[int]:
        from mamtra.lm.stream import stream_tokens

        generator = torch.Generator().manual_seed(context)
        n_text = max(context // 5, 1)
        text = torch.randint(self.lm.text_vocab, (n_text,), generator=generator).tolist()
        spoken = context - n_text - SPECIAL
        prompt = torch.randint(self.lm.speech_vocab, (spoken,), generator=generator).tolist()
        # Equal limits: as many tokens whatever a model would rather do.
        limits = {"target_length": n_tokens, "min_ratio": 1.0, "max_ratio": 1.0}
        return stream_tokens(self.lm, text, prompt, generator, **limits, **self.sampling)

    def vocode(self, tokens: Sequence[int]) -> float:
        with torch.inference_mode():
            wave = self.codec.decode(torch.tensor(tokens), self.voice).cpu()
        return len(wave) / self.codec.sample_rate_hz

    def state_bytes(self, context: int) -> int:
        dtype = next(self.lm.parameters()).dtype
        return self.lm.backbone.new_state(1, context, dtype).num_bytes()


@dataclass(frozen=True)
class _Round:
    n_tokens: int
    first_s: float
    lm_s: float  # all tokens, the first too
    tokens_per_s: float
    vocode_s: float
    audio_s: float


def measure(
    systems: Mapping[str, Timed],
    *,
    contexts: Sequence[int],
    n_tokens: int,
    rounds: int,
    device: str = "cpu",
    advance: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Measured]:
    """One row per context and system. In every round each system has its turn; a round before them warms up."""
    found = []
    for context in contexts:
        taken: dict[str, list[_Round]] = {name: [] for name in systems}
        for number in range(rounds + 1):
            for name, system in systems.items():
                one = _round(system, context, n_tokens, clock)
                if number:
                    taken[name].append(one)
                advance()
        # Not while times are taken: an emptied allocator is a slow one.
        peaks = {name: _peak(system, context, n_tokens, device) for name, system in systems.items()}
        for name, system in systems.items():
            found.append(_summary(name, context, system, taken[name], peaks[name]))
    return found


def _round(system: Timed, context: int, n_tokens: int, clock: Callable[[], float]) -> _Round:
    start = clock()
    tokens = system.speak(context, n_tokens)
    drawn = [next(tokens)]  # a Python integer: the device has finished
    first = clock()
    drawn += tokens
    last = clock()
    if len(drawn) != n_tokens:
        raise RuntimeError(f"{len(drawn)} tokens came instead of {n_tokens}")
    audio_s = system.vocode(drawn)
    rate = (n_tokens - 1) / (last - first)
    return _Round(n_tokens, first - start, last - start, rate, clock() - last, audio_s)


def _peak(system: Timed, context: int, n_tokens: int, device: str) -> tuple[int | None, int | None]:
    """The most that was allocated and reserved on a GPU in one round, less what lay there before."""
    if not device.startswith("cuda"):
        return None, None
    gc.collect()
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    _round(system, context, n_tokens, time.perf_counter)
    torch.cuda.synchronize(device)
    return (
        torch.cuda.max_memory_allocated(device) - allocated,
        torch.cuda.max_memory_reserved(device) - reserved,
    )


def _summary(
    name: str,
    context: int,
    system: Timed,
    taken: Sequence[_Round],
    peak: tuple[int | None, int | None],
) -> Measured:
    rates = [one.tokens_per_s for one in taken]
    spoken_s = [one.n_tokens / system.token_rate_hz for one in taken]
    return Measured(
        system=name,
        context=context,
        first_token_s=median(one.first_s for one in taken),
        tokens_per_s=median(rates),
        tokens_per_s_low=min(rates),
        tokens_per_s_high=max(rates),
        lm_rtf=median(one.lm_s / s for one, s in zip(taken, spoken_s, strict=True)),
        codec_rtf=median(one.vocode_s / one.audio_s for one in taken),
        state_bytes=system.state_bytes(context),
        weight_bytes=system.weight_bytes,
        peak_allocated_bytes=peak[0],
        peak_reserved_bytes=peak[1],
    )


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, once they measure something; InputError otherwise."""
    contexts, n_tokens, rounds = (given[name] for name in ("contexts", "n_tokens", "rounds"))
    if (
        not isinstance(contexts, list)
        or not contexts
        or not all(isinstance(n, int) and n >= 2 + SPECIAL for n in contexts)
    ):
        raise InputError(
            f"efficiency.contexts={contexts}: a list of lengths of at least {2 + SPECIAL} positions, "
            "such as [256,512]"
        )
    if not isinstance(n_tokens, int) or n_tokens < 2 or not isinstance(rounds, int) or rounds < 3:
        raise InputError(
            f"efficiency.n_tokens={n_tokens} efficiency.rounds={rounds}: at least 2 tokens and 3 rounds"
        )
    return {"contexts": contexts, "n_tokens": n_tokens, "rounds": rounds}


def efficiency(models: Mapping[str, str], s: Mapping[str, Any], console: Console) -> Path:
    """Measure the models of a configuration, write and print the table; returns efficiency.json.

    Raises:
        InputError: no models, one that is no model, or settings that measure nothing.
    """
    settings = _settings(s["efficiency"])
    unfit = [name for name, path in models.items() if path in (RECORDINGS, CODEC)]
    if unfit:
        raise InputError(f"{', '.join(unfit)}: there is no language model to measure")
    for path in models.values():
        check_model_folder(Path(path))
    baseline, out = s["baseline"], Path(s["out"])
    if baseline is not None and baseline not in models:
        raise InputError(f"baseline {baseline!r} is not among: {', '.join(models)}")
    torch.set_num_threads(s["threads"])
    codec = Path(s["system"]["codec"])
    try:
        systems = {
            name: TimedModel(Synthesizer.load(path, codec, device=s["device"]))
            for name, path in models.items()
        }
    except (ValueError, FileNotFoundError) as error:
        raise InputError(str(error)) from error
    with progress_bar(console) as bar:
        total = len(systems) * len(settings["contexts"]) * (settings["rounds"] + 1)
        task = bar.add_task("efficiency", total=total)
        rows = measure(systems, **settings, device=s["device"], advance=lambda: bar.advance(task))
    machine = device_description(s["device"])
    content = {
        "machine": machine,
        "fingerprint": sha256_json([machine, package_versions()["torch"]])[:8],
        "settings": dict(settings),
        "baseline": baseline,
        "models": dict(models),
        "git": git_state(),
        "packages": package_versions(),
        "rows": [asdict(row) for row in rows],
    }
    write_json(out / FILE, content)
    write_text(out / "efficiency.csv", pd.DataFrame(content["rows"]).to_csv(index=False))
    console.print(efficiency_table(content))
    console.print(f"-> {out / FILE}\n-> {out / 'efficiency.csv'}", soft_wrap=True)
    return out / FILE


COLUMNS = (
    *("system", "context", "first ms", "tokens/s", "range", "x base", "RTF LM", "RTF codec"),
    *("state kB", "peak MB"),
)


def efficiency_cells(content: Mapping[str, Any]) -> list[list[str]]:
    """The rows of an efficiency.json as text, in the order of COLUMNS."""
    rows, base = content["rows"], content["baseline"]
    rates = {row["context"]: row["tokens_per_s"] for row in rows if row["system"] == base}

    def cells(row: Mapping[str, Any]) -> list[str]:
        rate, peak = row["tokens_per_s"], row["peak_allocated_bytes"]
        return [
            row["system"],
            str(row["context"]),
            f"{1e3 * row['first_token_s']:.1f}",
            f"{rate:.0f}",
            f"{row['tokens_per_s_low']:.0f}-{row['tokens_per_s_high']:.0f}",
            f"{rate / rates[row['context']]:.2f}" if rates else "–",
            f"{row['lm_rtf']:.3f}",
            f"{row['codec_rtf']:.3f}",
            f"{row['state_bytes'] / 1e3:,.0f}",
            "–" if peak is None else f"{peak / 1e6:,.0f}",
        ]

    return [cells(row) for row in rows]


def machine_text(content: Mapping[str, Any]) -> str:
    """One line that names the machine of a measurement."""
    machine = content["machine"]
    device = machine["device"] if machine["device"] != "cpu" else machine["processor"]
    used = f"{machine['torch_threads']} threads, torch {content['packages']['torch']}"
    return f"{device}, {used}, machine {content['fingerprint']}"


def efficiency_table(content: Mapping[str, Any]) -> Table:
    """For a terminal of 80 characters: what the files and the board have besides is left out."""
    shown = [
        n for n, header in enumerate(COLUMNS) if header not in ("range", "RTF codec", "peak MB")
    ]
    rows = [[cells[n] for n in shown] for cells in efficiency_cells(content)]
    return number_table(machine_text(content), [COLUMNS[n] for n in shown], rows)
