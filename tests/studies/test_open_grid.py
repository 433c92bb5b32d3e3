"""The table of the open system's grid: controls beside every student, seeds that both have."""

import json

import pandas as pd
import pytest

from eval.store.files import InputError
from studies.documents.open_grid import grid_table, grid_values
from studies.documents.sources import Sources
from studies.results import publish
from tests.studies.test_results import WORDS, add_work

A, M, W = "attention", "mamba", "window"
OPEN = "paths=open"


def put(grid, name, errors, ratio, placement, plan, seed=0, overrides=()):
    add_work(grid, name, errors)
    cell = {"ratio": ratio, "placement": placement, "seed": seed, "plan": plan, "work": name}
    (grid / "cells").mkdir(exist_ok=True)
    path = grid / "cells" / f"{name}.json"
    path.write_text(json.dumps({**cell, "overrides": [OPEN, *overrides]}))


@pytest.fixture
def grid(tmp_path):
    folder = tmp_path / "grid"
    for seed in (0, 1):
        put(folder, f"AA-{seed}", [0, 1, seed], "1to0", "continued", (A, A), seed)
        put(folder, f"AM-{seed}", [1, 2, seed], "1to1", "oas", (A, M), seed)
    windows = ("mixer=window", "init=identity")
    put(folder, "AW-0", [1, 3, 1], "1to1", "oas", (A, W), 0, windows)
    put(folder, "AW-2", [1, 3, 1], "1to1", "oas", (A, W), 0, (*windows, "steps=0"))
    put(folder, "AM-9", [1, 1, 0], "1to1", "oas", (A, M), 0, ("state=shared",))
    (folder / "grid.json").write_text('{"versions": ["abc"]}')
    return folder


def test_every_student_stands_beside_its_controls(grid, tmp_path):
    publish(grid, tmp_path / "results/open/grid")
    rows = [line.split(" | ") for line in grid_table(Sources(tmp_path)).splitlines()[2:]]
    found = {row[2]: row for row in rows}
    kinds = ["none", "Mamba-2", "Mamba-2 `state=shared`", "window", "window `steps=0`"]
    assert list(found) == kinds
    n = sum(WORDS)
    rate = [f"{100 * errors / n:.1f}" for errors in (1, 2, 3, 4)]
    assert found["none"][:6] == ["| 1:0", "`continued`", "none", f"{rate[0]}, {rate[1]}"] + [
        f"{(float(100 / n) * 1.5):.1f}",
        "",
    ]
    assert found["Mamba-2"][3] == f"{rate[2]}, {rate[3]}"
    assert found["Mamba-2"][5].startswith(f"{100 * 2 / n:+.1f} [")
    assert found["Mamba-2"][6].startswith(f"{100 * (3 - 5) / n:+.1f} [")
    assert found["Mamba-2"][6].endswith("(1 of 2 seeds) |")
    assert found["window"][6] == " |" or found["window"][6] == "|"


def test_a_grid_without_its_control_is_refused(grid, tmp_path):
    for path in (grid / "cells").glob("AA-*.json"):
        path.unlink()
    publish(grid, tmp_path / "results/open/grid")
    with pytest.raises(InputError, match="no cell 1to0 continued, the control of all others"):
        grid_table(Sources(tmp_path))


def test_a_plan_of_two_mixers_is_named(grid, tmp_path):
    publish(grid, tmp_path / "results/open/grid")
    path = tmp_path / "results/open/grid/cells.csv"
    pd.read_csv(path).replace({"plan": {"AW": "MW"}}).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"AW-0: the plan MW has more than one kind"):
        grid_table(Sources(tmp_path))


def test_values_of_sentences_are_those_of_the_table(grid, tmp_path):
    publish(grid, tmp_path / "results/open/grid")
    sources = Sources(tmp_path)
    row = next(line for line in grid_table(sources).splitlines() if "Mamba-2 |" in line)
    for part in ("mean", "gap", "window"):
        assert f"| {grid_values(sources, f'1to1-oas-M.{part}')} |" in row
    assert grid_values(sources, "1to1-oas-M.seeds") == "2"
    assert grid_values(sources, "1to1-oas-M.shared").startswith(
        f"{100 * (2 - 3) / sum(WORDS):+.1f} ["
    )
    assert grid_values(sources, "continued") == "10.0" and grid_values(sources, "utterances") == "3"


@pytest.mark.parametrize(
    "name", ["1to1-oas-G.mean", "1to1-oas-M.wer", "1to1-oas-M.bf16", "1to1", "1to5-oas-M.gap"]
)
def test_an_unknown_value_is_named(grid, tmp_path, name):
    publish(grid, tmp_path / "results/open/grid")
    with pytest.raises(InputError, match=f"no value '{name}' of results/open/grid"):
        grid_values(Sources(tmp_path), name)
