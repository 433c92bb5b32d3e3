"""stage=efficiency: measures models, keeps and shows the rows.

    <out>/efficiency.json   machine, settings, one row per system and context length
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
from eval.efficiency.measure import SPECIAL, TimedModel, measure
from eval.settings import Efficiency
from eval.store.files import InputError, sha256_json, write_json, write_text
from eval.store.manifest import device_description, git_state, package_versions
from eval.synthesis.model_voicer import check_model_folder
from eval.synthesis.systems import CODEC, RECORDINGS
from mamtra.tts import Synthesizer

FILE = "efficiency.json"


def _check(s: Efficiency) -> None:
    """Raise InputError unless the settings measure something."""
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
    """Measure the models of a configuration, write and print the table; returns efficiency.json.

    Raises:
        InputError: no models, one that is no model, or settings that measure nothing.
    """
    _check(s)
    settings = {
        name: getattr(s, name)
        for name in ("contexts", "batches", "dtypes", "compiled", "n_tokens", "rounds")
    }
    unfit = [name for name, path in models.items() if path in (RECORDINGS, CODEC)]
    if unfit:
        raise InputError(f"{', '.join(unfit)}: there is no language model to measure")
    for path in models.values():
        check_model_folder(Path(path))
    baseline, out = s.baseline, s.out
    runs = dict(_runs(models, s))
    if baseline is not None and baseline not in runs:
        raise InputError(f"baseline {baseline!r} is not among: {', '.join(runs)}")
    torch.set_num_threads(s.threads)
    try:
        systems = {
            name: TimedModel(
                Synthesizer.load(path, s.system.codec, s.device, dtype=dtype, compiled=compiled)
            )
            for name, (path, dtype, compiled) in runs.items()
        }
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        raise InputError(str(error)) from error
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
            advance=lambda: bar.advance(task),
        )
    machine = device_description(s.device)
    content = {
        "machine": machine,
        "fingerprint": sha256_json([machine, package_versions()["torch"]])[:8],
        "settings": settings,
        "baseline": baseline,
        "models": dict(models),
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


COLUMNS = (
    *(
        "system",
        "context",
        "batch",
        "first ms",
        "tokens/s",
        "range",
        "x base",
        "RTF LM",
        "RTF codec",
    ),
    *("state kB", "peak MB"),
)


def _place(row: Mapping[str, Any]) -> tuple[int, int]:
    """(context, batch); rows from before there were batches are of one sentence."""
    return row["context"], row.get("batch", 1)


def efficiency_cells(content: Mapping[str, Any]) -> list[list[str]]:
    """The rows of an efficiency.json as text, in the order of COLUMNS."""
    rows, base = content["rows"], content["baseline"]
    rates = {_place(row): row["tokens_per_s"] for row in rows if row["system"] == base}

    def cells(row: Mapping[str, Any]) -> list[str]:
        rate, peak = row["tokens_per_s"], row["peak_allocated_bytes"]
        return [
            row["system"],
            *map(str, _place(row)),
            f"{1e3 * row['first_token_s']:.1f}",
            f"{rate:.0f}",
            f"{row['tokens_per_s_low']:.0f}-{row['tokens_per_s_high']:.0f}",
            f"{rate / rates[_place(row)]:.2f}" if rates else "–",
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
