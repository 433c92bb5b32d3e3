"""stage=efficiency: measures models, keeps and shows the rows.

    <out>/efficiency.json   machine, settings, one row per system, context length and batch
    <out>/efficiency.csv    the rows, for notebooks

Rows of different runs are never in one table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from eval.console import number_table, progress_bar
from eval.efficiency.bandwidth import memory_bandwidth
from eval.efficiency.granite_peer import TimedGranite
from eval.efficiency.measure import Timed, measure
from eval.efficiency.models import SPECIAL, TimedModel
from eval.efficiency.peers import GRANITE, TimedPeer
from eval.efficiency.peers import NAMES as PEER_NAMES
from eval.efficiency.settings import Efficiency
from eval.store.files import InputError, sha256_json, write_json, write_text
from eval.store.manifest import (
    check_device,
    device_description,
    git_state,
    package_versions,
)
from eval.synthesis.model_voicer import check_model_folder
from eval.synthesis.systems import CODEC, RECORDINGS
from mamtra.backbone.layer_plan import ATTENTION, MAMBA
from mamtra.lm.checkpoint import DTYPES, load_lm
from mamtra.lm.runtime import runtime, runtime_text
from mamtra.lm.speech_lm import SpeechLM
from mamtra.systems import system_of

FILE = "efficiency.json"


def _check(s: Efficiency) -> None:
    """Raise InputError unless the settings measure something, on a device that is there."""
    check_device(s.device)
    if not s.contexts or min(s.contexts) < 2 + SPECIAL:
        raise InputError(
            f"contexts={s.contexts}: a list of lengths of at least {2 + SPECIAL} positions, "
            "such as [256,512]"
        )
    if not s.batches or min(s.batches) < 1 or not s.dtypes or not s.compiled:
        raise InputError(
            f"batches={s.batches} dtypes={s.dtypes} compiled={s.compiled}: at least one of each, "
            "such as batches=[1,16] dtypes=[fp32,bf16] compiled=[false]"
        )
    if s.n_tokens < 2 or s.rounds < 3:
        raise InputError(f"n_tokens={s.n_tokens} rounds={s.rounds}: at least 2 tokens and 3 rounds")


def _runs(models: Mapping[str, str], s: Efficiency) -> Iterator[tuple[str, tuple[str, str, bool]]]:
    """(name, (folder, dtype, compiled)) of everything that is measured; names say what differs."""
    for (name, path), dtype, compiled in itertools.product(models.items(), s.dtypes, s.compiled):
        words = [name]
        words += [dtype] if len(s.dtypes) > 1 else []
        words += ["compiled"] if compiled and len(s.compiled) > 1 else []
        yield " ".join(words), (path, dtype, compiled)


def efficiency(models: Mapping[str, str], s: Efficiency, console: Console) -> Path:
    """Measure the models of a configuration and their peers, write and print the table; returns
    efficiency.json.

    Raises:
        InputError: no models, one that is no model, settings that measure nothing, or too little memory.
    """
    _check(s)
    names = ("peers", "prefill", "vocode", "contexts", "batches", "dtypes", "compiled")
    settings = {name: getattr(s, name) for name in (*names, "n_tokens", "rounds")}
    unfit = [name for name, path in models.items() if path in (RECORDINGS, CODEC)]
    if unfit:
        raise InputError(f"{', '.join(unfit)}: there is no language model to measure")
    for path in models.values():
        check_model_folder(Path(path))
    runs, baseline = dict(_runs(models, s)), s.baseline
    named = [*runs, *_peer_names(s)]
    if baseline is not None and baseline not in named:
        raise InputError(f"baseline {baseline!r} is not among: {', '.join(named)}")
    torch.set_num_threads(s.threads)
    facts = {
        name: runtime(s.device, dtype, compiled) for name, (_, dtype, compiled) in runs.items()
    }
    for name, fact in facts.items():
        console.print(f"{name}: {runtime_text(fact)}", markup=False, soft_wrap=True)
    systems = _load(runs, s)
    bandwidth = memory_bandwidth(s.device)
    with progress_bar(console) as bar:
        total = len(systems) * len(s.contexts) * len(s.batches) * (s.rounds + 1)
        task = bar.add_task("efficiency", total=total)
        rows = measure(
            systems,
            contexts=s.contexts,
            batches=s.batches,
            n_tokens=s.n_tokens,
            rounds=s.rounds,
            device=s.device,
            bandwidth=bandwidth,
            advance=lambda: bar.advance(task),
        )
    machine, out = device_description(s.device), s.out
    content = {
        "machine": machine | {"bytes_per_s": bandwidth},
        "fingerprint": sha256_json([machine, package_versions()["torch"]])[:8],
        "settings": settings,
        "baseline": baseline,
        "models": dict(models),
        "runtime": facts,
        "git": git_state(),
        "packages": package_versions(),
        "rows": [asdict(row) for row in rows],
    }
    write_json(out / FILE, content)
    write_text(out / "efficiency.csv", pd.DataFrame(content["rows"]).to_csv(index=False))
    console.print(efficiency_table(content))
    paths = f"-> {out / FILE}\n-> {out / 'efficiency.csv'}"
    console.print(paths, soft_wrap=True, markup=False, highlight=False)
    return out / FILE


def _peer_names(s: Efficiency) -> dict[str, tuple[str, str]]:
    """Name -> (kind, dtype) of the peers, in each dtype once."""
    several = len(s.dtypes) > 1
    return {
        " ".join([PEER_NAMES[kind], dtype] if several else [PEER_NAMES[kind]]): (kind, dtype)
        for kind, dtype in itertools.product(s.peers, s.dtypes)
    }


def _load(runs: Mapping[str, tuple[str, str, bool]], s: Efficiency) -> dict[str, Timed]:
    """Everything that is measured, in memory. Raises InputError for what cannot be loaded."""
    systems: dict[str, Timed] = {}
    try:
        codec = system_of(s.system.codec).load_codec(s.system.codec, s.device) if s.vocode else None
        for name, (path, dtype, compiled) in runs.items():
            lm = load_lm(path, s.device, dtype)
            if codec is not None and lm.speech_vocab != codec.codebook_size:
                raise InputError(
                    f"{path} speaks {lm.speech_vocab} codes, {s.system.codec} has "
                    f"{codec.codebook_size}: vocode=false measures the language model alone"
                )
            if compiled:
                lm.compile_steps()
            systems[name] = TimedModel(lm, codec, s.prefill)
        rate = codec.token_rate_hz if codec is not None else None
        for name, (kind, dtype) in _peer_names(s).items():
            lm = _source(systems, DTYPES[dtype], hybrid=kind == GRANITE)
            if kind == GRANITE:
                systems[name] = TimedGranite(lm, s.prefill, rate)
            else:
                systems[name] = TimedPeer(lm, kind, s.prefill, rate)
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        raise InputError(str(error)) from error
    return systems


def _source(systems: Mapping[str, Timed], dtype: torch.dtype, hybrid: bool) -> SpeechLM:
    """The first model in this dtype, of attention alone or of attention and Mamba layers, whose weights a peer
    has."""
    kinds = {ATTENTION, MAMBA} if hybrid else {ATTENTION}
    models = [one.lm for one in systems.values() if isinstance(one, TimedModel)]
    fitting = [lm for lm in models if lm.dtype == dtype and set(lm.plan) == kinds]
    if fitting:
        return fitting[0]
    if hybrid:
        raise InputError("peers=granite needs one of the models to have attention and Mamba layers")
    raise InputError("peers= needs one of the models to be attention alone, such as a teacher")


COLUMNS = (
    *("system", "context", "batch", "first ms", "tokens/s", "range", "x base", "of limit"),
    *("RTF LM", "RTF codec", "state kB", "peak MB"),
)
HIDDEN = ("range", "RTF LM", "RTF codec", "peak MB")  # in a terminal


def _place(row: Mapping[str, Any]) -> tuple[int, int]:
    """(context, batch); rows from before there were batches are of one sentence."""
    return row["context"], row.get("batch", 1)


def efficiency_cells(content: Mapping[str, Any]) -> list[list[str]]:
    """The rows of an efficiency.json as text, in the order of COLUMNS; a dash where nothing was measured."""
    rows, base = content["rows"], content["baseline"]
    rates = {_place(row): row["tokens_per_s"] for row in rows if row["system"] == base}

    def cells(row: Mapping[str, Any]) -> list[str]:
        rate, limit = row["tokens_per_s"], row.get("limit_tokens_per_s")
        return [
            row["system"],
            *map(str, _place(row)),
            _text("{:.1f}", row["first_token_s"], 1e3),
            _rate(rate),
            f"{_rate(row['tokens_per_s_low'])}-{_rate(row['tokens_per_s_high'])}",
            f"{rate / rates[_place(row)]:.2f}" if rates else "–",
            _text("{:.2f}", rate / limit if limit else None),
            _text("{:.3f}", row["lm_rtf"]),
            _text("{:.3f}", row["codec_rtf"]),
            f"{row['state_bytes'] / 1e3:,.0f}",
            _text("{:,.0f}", row["peak_allocated_bytes"], 1e-6),
        ]

    return [cells(row) for row in rows]


def _rate(value: float) -> str:
    """Two digits at least."""
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _text(form: str, value: float | None, unit: float = 1.0) -> str:
    return "–" if value is None else form.format(unit * value)


def machine_text(content: Mapping[str, Any]) -> str:
    """One line that names the machine of a measurement."""
    machine = content["machine"]
    device = machine["device"] if machine["device"] != "cpu" else machine["processor"]
    used = f"{machine['torch_threads']} threads, torch {content['packages']['torch']}"
    return f"{device}, {used}, machine {content['fingerprint']}"


def efficiency_table(content: Mapping[str, Any]) -> Table:
    """For a terminal of 80 characters: what the files and the board have besides is left out."""
    shown = [n for n, header in enumerate(COLUMNS) if header not in HIDDEN]
    rows = [[cells[n] for n in shown] for cells in efficiency_cells(content)]
    return number_table(machine_text(content), [COLUMNS[n] for n in shown], rows)
