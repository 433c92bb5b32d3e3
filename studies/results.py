"""The committed form of a grid: small tables that notebooks read, and where they come from.

    python -m studies.results grid=runs/grid out=results/mini-grammar/grid [figures=docs/figures]

<out>/cells.csv            one row per cell (`studies.grid_table.table`)
<out>/utterances.parquet   work, utterance, voice, status, errors, reference_words
<out>/curves.parquet       work and the columns of its metrics.csv
<out>/manifest.json        code versions, settings, input hashes, where cells were made, wall time

Besides, where they lie in the grid folder: compare.csv of stage=compare, prosody.csv and prosody_compare.csv of
stage=prosody. A grid of MambaVoiceCloning's arms is published by the same command.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from eval.analysis.measures import word_errors_of
from eval.analysis.statistics import paired_difference, rate_interval
from eval.store.evaluations import check_list, check_recipe, read_evaluation
from eval.store.files import InputError, read_json, write_bytes, write_json, write_text
from eval.store.manifest import REPOSITORY, device_description, package_versions
from studies.figures import write_figures
from studies.grid_table import ARM, CONTINUED, STUDENT, scores_of, table

PAPER = REPOSITORY / "results" / "paper" / "figure4.csv"
GAP = ("", "_low", "_high", "_p")
STAGES = ("compare.csv", "prosody.csv", "prosody_compare.csv")
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
        reference words (U,) and the voices (U,).

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
        return errors, np.asarray(facts["reference_words"]), facts["voice"].astype(str).tolist()


def read_results(folder: Path) -> GridResults:
    """Read what `publish` wrote; the intervals of WER are today's, whatever the tables were written with.

    Raises:
        InputError: a file is missing, with the command that makes it.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise InputError(
                f"{folder / name} does not exist: `python -m studies.results grid=... out={folder}`"
            )
    utterances = _with_voices(pd.read_parquet(folder / "utterances.parquet"))
    cells = pd.read_csv(folder / "cells.csv", keep_default_na=True)
    # An empty field, where a cell was told nothing more.
    cells["overrides"] = cells["overrides"].fillna("")
    return GridResults(
        _with_intervals(cells, utterances),
        utterances,
        pd.read_parquet(folder / "curves.parquet"),
        read_json(folder / "manifest.json") or {},
    )


def _with_voices(utterances: pd.DataFrame) -> pd.DataFrame:
    """Tables of before 2026-11-24 have prompts only: `prompt-v07-1.flac` is the second prompt of the voice v07,
    as `assets/mini` names them; any other prompt is its own voice. Nowhere else is a voice read off a name."""
    if "voice" in utterances or "prompt" not in utterances:
        return utterances
    prompts = utterances["prompt"].astype(str)
    named = prompts.str.extract(r"^prompt-(v\d+)-\d+\.\w+$", expand=False)
    return utterances.assign(voice=named.fillna(prompts)).drop(columns="prompt")


def _with_intervals(cells: pd.DataFrame, utterances: pd.DataFrame) -> pd.DataFrame:
    """The cells with `wer_corpus_low` and `_high` made anew, and `wer_difference*` to the teacher (ratio 1:0)
    of the same seed; arms have no teacher."""
    ends, gaps = ("wer_corpus_low", "wer_corpus_high"), [f"wer_difference{end}" for end in GAP]
    cells = cells.drop(columns=[*ends, *gaps], errors="ignore")
    by_work = {
        str(work): rows.set_index("utterance")
        for work, rows in utterances.dropna(subset=["errors"]).groupby("work")
    }
    teachers: dict[int, str] = {}
    if ARM not in cells:
        own = (cells["ratio"] == "1to0") & (cells["placement"] != CONTINUED)
        teachers = cells[own].set_index("seed")["work"].to_dict()
    rows: list[dict[str, float]] = []
    for work, seed in zip(cells["work"], cells["seed"], strict=True):
        own, base = by_work.get(work), by_work.get(teachers.get(seed, ""))
        row: dict[str, float] = {}
        if own is not None:
            voices = own["voice"].astype(str).tolist()
            wer = rate_interval(own["errors"], own["reference_words"], voices)
            row |= dict(zip(ends, (wer.low, wer.high), strict=True))
            if base is not None and work != teachers[seed]:
                shared = own.join(base[["errors"]].add_prefix("base_"), how="inner")
                names = shared["voice"].astype(str).tolist()
                gap = paired_difference(
                    shared["errors"], shared["base_errors"], shared["reference_words"], names
                )
                row |= dict(zip(gaps, (gap.point, gap.low, gap.high, gap.p), strict=True))
        rows.append(row)
    found = pd.DataFrame(rows, index=cells.index).reindex(columns=[*ends, *gaps])
    return pd.concat([cells, found], axis=1)


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
    for name in STAGES:
        if (grid / name).is_file():
            write_bytes(out / name, (grid / name).read_bytes())
    return read_results(out)


def _utterances(grid: Path, work: str) -> pd.DataFrame:
    rows = scores_of(grid / "works" / work)
    return pd.DataFrame(
        {
            "work": work,
            "utterance": row["utterance"],
            "voice": row["voice"],
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
    runs = {work: read_json(grid / "works" / work / "run" / "config.json") for work in works}
    seconds = cells.drop_duplicates("work")[["train_s", "evaluate_s"]].sum()
    return {
        "code_versions": (read_json(grid / "grid.json") or {}).get("versions", []),
        # Not where the cells were made: that is "trained" and "machines" of the evaluation.
        "published": {"packages": package_versions(), "machine": device_description("cpu")},
        "cells": cells["status"].value_counts().to_dict(),
        "seeds": sorted({int(seed) for seed in cells["seed"]}),
        "process_seconds": {str(name): round(float(value)) for name, value in seconds.items()},
        **_evaluations(grid, works),
        "runs": runs,
    }


def _evaluations(grid: Path, works: list[str]) -> dict[str, Any]:
    """On what all works were trained, and by what and where they were evaluated, as their stores say.

    Raises:
        InputError: works evaluated in different ways: such a table would compare what cannot be compared.
    """
    scored = [grid / "works" / work for work in works if scores_of(grid / "works" / work)]
    found = [one for work in scored for one in read_evaluation(work / "eval", [STUDENT])]
    if not found:
        return {"trained": [], "evaluation": None}
    first, *others = found
    for other in others:
        check_list(first, other)
        for metric in {**first.recipes, **other.recipes}:
            check_recipe(first, other, metric)
    made = [one.card.get("provenance") or {} for one in found]
    where = [run for one in found for run in one.runs[-1:]]
    evaluation = {
        "meta_sha256": first.test_set,
        "metrics": {name: dict(recipe) for name, recipe in first.recipes.items()},
        "machines": _counted(where, ("machine", "packages")),
    }
    return {"trained": _counted(made, ("runtime", "software")), "evaluation": evaluation}


def _counted(facts: Sequence[Mapping[str, Any]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """What is different of these facts, each with the number of works that have it."""
    kept = [{name: one.get(name) for name in names} for one in facts]
    different = {json.dumps(one, sort_keys=True): one for one in kept}
    return [one | {"works": kept.count(one)} for one in different.values()]


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
