"""The table of the open system's grid: controls beside every student, seeds that both have."""

import json

import pandas as pd
import pytest

from eval.store.files import InputError
from studies.documents.open_grid import (
    PROCESSOR,
    SHORT,
    TEACHER_B,
    grid_table,
    grid_values,
    headline_table,
)
from studies.documents.open_state import mean_lengths, state_bytes
from studies.documents.sources import Sources
from studies.results import publish
from tests.shipped import OPEN as OPEN_ASSETS
from tests.studies.test_results import WORDS, add_work

A, M, W = "attention", "mamba", "window"
OPEN = "paths=open"
LENGTHS = (132, 59)


def put(grid, name, errors, ratio, placement, plan, seed=0, overrides=()):
    add_work(grid, name, errors)
    cell = {"ratio": ratio, "placement": placement, "seed": seed, "plan": plan, "work": name}
    (grid / "cells").mkdir(exist_ok=True)
    path = grid / "cells" / f"{name}.json"
    path.write_text(json.dumps({**cell, "overrides": [OPEN, *overrides]}))


@pytest.fixture
def grid(tmp_path, monkeypatch):
    # Its utterances are of no test list; the model whose states are counted is the shipped one.
    monkeypatch.setattr("studies.documents.open_grid.mean_lengths", lambda sources, names: LENGTHS)
    (tmp_path / "assets").symlink_to(OPEN_ASSETS.parent)
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
    publish(grid, tmp_path / "results/open/grid_640")
    rows = [line.split(" | ") for line in grid_table(Sources(tmp_path)).splitlines()[2:]]
    found = {row[2]: row for row in rows}
    kinds = ["none", "Mamba-2", "Mamba-2 `state=shared`", "window", "window `steps=0`"]
    assert list(found) == kinds
    n = sum(WORDS)
    rate = [f"{100 * errors / n:.1f}" for errors in (1, 2, 3, 4)]
    assert found["none"][:6] == ["| 1:0", "`continued`", "none", f"{rate[0]}, {rate[1]}"] + [
        f"{(float(100 / n) * 1.5):.1f}",
        f"{state_bytes(OPEN_ASSETS, '1to0', M, '', LENGTHS) / 1000:,.0f}",
    ]
    assert found["Mamba-2"][3] == f"{rate[2]}, {rate[3]}"
    assert found["Mamba-2"][6].startswith(f"{100 * 2 / n:+.1f} [")
    assert found["Mamba-2"][7].startswith(f"{100 * (3 - 5) / n:+.1f} [")
    assert found["Mamba-2"][7].endswith("(1 of 2 seeds) |")
    assert found["window"][7] in (" |", "|")


def test_the_headline_has_mamba_and_window_by_ratio(grid, tmp_path):
    put(grid, "MM-0", [4, 4, 1], "1to11", "oas", (M, M), 0)
    put(grid, "BB-0", [5, 5, 5], "1to11", "blockbeg", (M, M), 0)
    publish(grid, tmp_path / "results/open/grid_640")
    lines = headline_table(Sources(tmp_path)).splitlines()
    assert lines[0] == "| the other layers | 1:1 | 1:11 |"
    rows = {part[1]: part[2:4] for part in (line.split("|") for line in lines[2:])}
    cells = {name.strip(): [cell.strip() for cell in row] for name, row in rows.items()}
    n = sum(WORDS)
    assert cells["Mamba-2, WER % (seeds)"] == [f"{350 / n:.1f} (2)", f"{900 / n:.1f} (1)"]
    assert cells["window, WER % (seeds)"] == [f"{500 / n:.1f} (1)", ""]
    assert cells["Mamba-2 less the teacher continued"][1].startswith(f"{800 / n:+.1f} [")
    assert cells["Mamba-2 less window"][0].startswith(f"{-200 / n:+.1f} [")
    assert cells["Mamba-2 less window"][1] == ""


def test_a_grid_without_its_control_is_refused(grid, tmp_path):
    for path in (grid / "cells").glob("AA-*.json"):
        path.unlink()
    publish(grid, tmp_path / "results/open/grid_640")
    with pytest.raises(InputError, match="no cell 1to0 continued, the control of all others"):
        grid_table(Sources(tmp_path))


def test_two_cells_that_differ_in_precision_alone_are_not_mixed(grid, tmp_path):
    put(grid, "AM-7", [0, 0, 0], "1to1", "oas", (A, M), 0, ("trainer.precision=bf16-mixed",))
    publish(grid, tmp_path / "results/open/grid_640")
    with pytest.raises(InputError, match=r"are both 1to1 oas M, seed 0: .*such as in precision"):
        grid_table(Sources(tmp_path))


def test_a_plan_of_two_mixers_is_named(grid, tmp_path):
    publish(grid, tmp_path / "results/open/grid_640")
    path = tmp_path / "results/open/grid_640/cells.csv"
    pd.read_csv(path).replace({"plan": {"AW": "MW"}}).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"AW-0: the plan MW has more than one kind"):
        grid_table(Sources(tmp_path))


def test_values_of_sentences_are_those_of_the_table(grid, tmp_path):
    publish(grid, tmp_path / "results/open/grid_640")
    sources = Sources(tmp_path)
    row = next(line for line in grid_table(sources).splitlines() if "Mamba-2 |" in line)
    for part in ("mean", "gap", "window"):
        assert f"| {grid_values(sources, f'1to1-oas-M.{part}')} |" in row
    assert grid_values(sources, "1to1-oas-M.seeds") == "2"
    assert grid_values(sources, "1to1-oas-M.wer0") == f"{300 / sum(WORDS):.1f}"
    assert grid_values(sources, "1to1-oas-M.shared").startswith(
        f"{100 * (2 - 3) / sum(WORDS):+.1f} ["
    )
    less = grid_values(sources, "1to1-oas-M.less-1to1-oas-W")
    assert less == grid_values(sources, "1to1-oas-M.window")
    assert f"| {grid_values(sources, '1to1-oas-M.state')} |" in row
    assert grid_values(sources, "generated") == "59"
    assert "| 1:0 |" in next(
        line
        for line in grid_table(sources).splitlines()
        if f"| {grid_values(sources, 'continued.state')} |" in line
    )
    (tmp_path / "results/open/generated.json").write_text('{"kept": 6396}')
    assert grid_values(sources, "said") == "6,396"
    more = grid_values(sources, "1to1-oas-M+state=shared.less-1to1-oas-M")
    assert more == grid_values(sources, "1to1-oas-M.shared")
    assert grid_values(sources, "continued") == "10.0" and grid_values(sources, "utterances") == "3"


@pytest.mark.parametrize(
    "name",
    [
        *("1to1-oas-G.mean", "1to1-oas-M.wer", "1to1-oas-M.bf16", "1to1", "1to5-oas-M.gap"),
        "1to1-oas-M.less-1to5-oas-M",
    ],
)
def test_an_unknown_value_is_named(grid, tmp_path, name):
    publish(grid, tmp_path / "results/open/grid_640")
    with pytest.raises(InputError, match=f"no value '{name}' of results/open/grid_640"):
        grid_values(Sources(tmp_path), name)


def test_states_are_counted_at_the_mean_sentence():
    """fp32, two key/value heads of 32: 512 bytes of a position in an attention layer; a Mamba layer holds six
    states of 32 x 32 and three inputs of a convolution over 6 + 2 + 2 heads."""
    conditioning, generated = LENGTHS
    attention = 512 * (conditioning + generated)
    mamba = 4 * (6 * 32 * 32 + 3 * 10 * 32)
    shared = 4 * (2 * 32 * 32 + 3 * 10 * 32)

    def of(ratio, mixer, overrides=""):
        return state_bytes(OPEN_ASSETS, ratio, mixer, overrides, LENGTHS)

    rest = of("1to0", M) - 12 * attention  # positions, rotary tables
    assert 0 < rest < 0.05 * of("1to0", M)
    assert of("1to11", M) - rest == attention + 11 * mamba
    assert of("1to11", M, "state=shared steps=3") - rest == attention + 11 * shared
    window = (of("1to11", W) - rest - attention) / 11
    assert window == pytest.approx(512 * (conditioning + 32), rel=0.01)


def test_lengths_are_those_of_the_sentences(tmp_path):
    names = frozenset(f"test-{n:04d}" for n in (270, 1))
    conditioning, generated = mean_lengths(Sources(OPEN_ASSETS.parents[1]), names)
    assert generated < conditioning < 200
    with pytest.raises(InputError, match=r"lacks 1 of the sentences that were scored"):
        mean_lengths(Sources(OPEN_ASSETS.parents[1]), names | {"nobody"})
    with pytest.raises(InputError, match=r"tokens\.parquet does not exist"):
        mean_lengths(Sources(tmp_path), names)


@pytest.mark.parametrize("name", [SHORT, TEACHER_B])
def test_other_grids_have_their_own_controls(grid, tmp_path, name):
    publish(grid, tmp_path / "results/open" / name)
    sources = Sources(tmp_path)
    assert "| 1:1 | `oas` | Mamba-2 |" in grid_table(sources, name)
    assert grid_values(sources, "1to1-oas-M.seeds", name) == "2"
    with pytest.raises(InputError, match=f"no value 'x.mean' of results/open/{name}"):
        grid_values(sources, "x.mean", name)


def test_cells_without_any_override_are_plain(grid, tmp_path):
    """A table has nothing where a cell of experiment=open_grid was told nothing more."""
    path = grid / "cells" / "AM-9.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "overrides": [], "placement": "kl"})
    )
    publish(grid, tmp_path / "results/open/grid_640")
    assert grid_values(Sources(tmp_path), "1to1-kl-M.seeds") == "1"
    assert "nan" not in grid_table(Sources(tmp_path))


def test_cells_of_another_machine_are_of_the_same_table(grid, tmp_path):
    other = tmp_path / "other"
    put(other, "MM-5", [4, 4, 1], "1to11", "oas", (M, M), 0, ("data=on_policy",))
    (other / "grid.json").write_text('{"versions": ["abc"]}')
    publish(grid, tmp_path / "results/open/grid_640")
    publish(other, tmp_path / "results/open" / PROCESSOR)
    row = next(r for r in grid_table(Sources(tmp_path)).splitlines() if "data=on_policy" in r)
    assert row.startswith("| 1:11 | `oas` | Mamba-2 `data=on_policy` |")
    gap = grid_values(Sources(tmp_path), "1to11-oas-M+data=on_policy.gap")
    assert gap.startswith(f"{800 / sum(WORDS):+.1f} [") and f"| {gap} |" in row


def test_placements_that_chose_the_same_layers_are_one_row(grid, tmp_path):
    """Of one student: as many seeds, or fewer. Equal numbers of another student are no reason."""
    for placement, seeds in (("kl", (0, 1)), ("wer", (1,))):
        for seed in seeds:
            cell = json.loads((grid / "cells" / f"AM-{seed}.json").read_text())
            path = grid / "cells" / f"{placement}-{seed}.json"
            path.write_text(json.dumps({**cell, "placement": placement}))
    put(grid, "MA-0", [1, 2, 0], "1to1", "back", (M, A), 0)
    publish(grid, tmp_path / "results/open/grid_640")
    rows = [line.split(" | ")[:3] for line in grid_table(Sources(tmp_path)).splitlines()[2:]]
    mamba = [row[1] for row in rows if row[2] == "Mamba-2"]
    assert mamba == ["`back`", "`oas`, `kl`, `wer`"]
    assert grid_values(Sources(tmp_path), "1to1-wer-M.seeds") == "1"
