"""The committed form of a grid: small tables that notebooks read, and where they come from.

    python -m studies.results grid=runs/grid out=results/mini/grid [figures=docs/figures]

<out>/cells.csv            one row per cell (`studies.grid_table.table`)
<out>/utterances.parquet   work, utterance, prompt, status, errors, reference_words
<out>/curves.parquet       work and the columns of its metrics.csv
<out>/manifest.json        code versions, settings, input hashes, packages, machine, wall time
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from eval.analysis.summary import word_errors_of
from eval.store.files import InputError, read_json, write_bytes, write_json, write_text
from eval.store.manifest import REPOSITORY, device_description, package_versions
from studies.figures import write_figures
from studies.grid_table import STUDENT, scores_of, table

PAPER = REPOSITORY / "results" / "paper" / "figure4.csv"
FILES = ("cells.csv", "utterances.parquet", "curves.parquet", "manifest.json")


@dataclass(frozen=True)
class GridResults:
    """cells: one row per cell. utterances, curves: rows of its works. manifest: provenance."""

    cells: pd.DataFrame
    utterances: pd.DataFrame
    curves: pd.DataFrame
    manifest: dict[str, Any]

    def done(self) -> pd.DataFrame:
        """The cells with numbers."""
        return self.cells.query("status == 'done'").reset_index(drop=True)

    def errors(self, works: list[str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Word errors (W, U) of works on the utterances that all of them were scored on, the
        reference words (U,) and the prompts (U,).

        Raises:
            InputError: a work without scored utterances, or none in common.
        """
        scored = self.utterances.dropna(subset=["errors"])
        wide = scored.pivot(index="utterance", columns="work", values="errors")
        missing = [work for work in works if work not in wide.columns]
        if missing:
            raise InputError(f"no scored utterances of {', '.join(missing)}")
        wide = wide[list(dict.fromkeys(works))].dropna()
        if wide.empty:
            raise InputError("these works have no scored utterance in common")
        facts = scored.drop_duplicates("utterance").set_index("utterance").loc[wide.index]
        errors = np.stack([np.asarray(wide[work], dtype=np.float64) for work in works])
        return errors, np.asarray(facts["reference_words"]), facts["prompt"].astype(str).tolist()


def read_results(folder: Path) -> GridResults:
    """Read what `publish` wrote.

    Raises:
        InputError: a file is missing, with the command that makes it.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise InputError(
                f"{folder / name} does not exist: `python -m studies.results grid=... out={folder}`"
            )
    return GridResults(
        pd.read_csv(folder / "cells.csv", keep_default_na=True),
        pd.read_parquet(folder / "utterances.parquet"),
        pd.read_parquet(folder / "curves.parquet"),
        read_json(folder / "manifest.json") or {},
    )


def publish(grid: Path, out: Path) -> GridResults:
    """Collect a grid folder into `out`.

    Raises:
        InputError: no cells there.
    """
    rows = table(grid)
    if not rows:
        raise InputError(
            f"{grid} holds no cells: `python train.py -m experiment=mini_grid` makes one"
        )
    cells = pd.DataFrame(rows).convert_dtypes()  # counts stay whole numbers beside empty cells
    works = list(dict.fromkeys(cells["work"].dropna()))
    utterances = [_utterances(grid, work) for work in works]
    curves = [_curves(grid, work) for work in works]
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "cells.csv", cells.to_csv(index=False, float_format="%.6g"))
    for name, frames in (("utterances", utterances), ("curves", curves)):
        frames = [frame for frame in frames if not frame.empty]
        whole = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"work": []})
        write_bytes(out / f"{name}.parquet", whole.to_parquet(index=False))
    write_json(out / "manifest.json", _manifest(grid, cells, works))
    return read_results(out)


def _utterances(grid: Path, work: str) -> pd.DataFrame:
    rows = scores_of(grid / "works" / work)
    return pd.DataFrame(
        {
            "work": work,
            "utterance": row["utterance"],
            "prompt": row["prompt"],
            "status": row["status"],
            "errors": None if row["wer"] is None else word_errors_of(row).errors,
            "reference_words": row["reference_words"],
        }
        for row in rows
    )


def _curves(grid: Path, work: str) -> pd.DataFrame:
    path = grid / "works" / work / "run" / "metrics.csv"
    if not path.is_file():
        return pd.DataFrame()
    frame = pd.read_csv(path)
    frame.insert(0, "work", work)
    return frame.astype({name: "float32" for name in frame.columns if name not in ("work", "step")})


def _manifest(grid: Path, cells: pd.DataFrame, works: list[str]) -> dict[str, Any]:
    runs, evaluation = {}, None
    for work in works:
        runs[work] = read_json(grid / "works" / work / "run" / "config.json")
        made = read_json(grid / "works" / work / "eval" / "manifest.json") or {}
        evaluation = evaluation or (made.get("systems") or {}).get(STUDENT)
    seconds = cells.drop_duplicates("work")[["train_s", "evaluate_s"]].sum()
    return {
        "code_versions": (read_json(grid / "grid.json") or {}).get("versions", []),
        "packages": package_versions(),
        "machine": device_description("cpu"),
        "cells": cells["status"].value_counts().to_dict(),
        "seeds": sorted({int(seed) for seed in cells["seed"]}),
        "process_seconds": {str(name): round(float(value)) for name, value in seconds.items()},
        "evaluation": evaluation,
        "runs": runs,
    }


def main() -> None:
    """`python -m studies.results grid=<folder> out=<folder> [figures=<folder>]`."""
    given = OmegaConf.to_container(OmegaConf.from_cli(sys.argv[1:]))
    if not isinstance(given, dict) or set(given) - {"figures"} != {"grid", "out"}:
        sys.exit("usage: python -m studies.results grid=<grid> out=<tables> [figures=<figures>]")
    try:
        results = publish(Path(str(given["grid"])), Path(str(given["out"])))
    except InputError as error:
        sys.exit(f"error: {error}")
    if "figures" in given:
        paper = pd.read_csv(PAPER).assign(wer=lambda points: points["wer_percent"] / 100)
        for path in write_figures(results.done(), paper, Path(str(given["figures"]))):
            print(f"-> {path}")
    counts = results.cells["status"].value_counts().to_dict()
    print(f"{len(results.cells)} cells ({counts}), {len(results.utterances)} utterances")
    for name in FILES:
        print(f"-> {Path(str(given['out'])) / name}")


if __name__ == "__main__":
    main()
