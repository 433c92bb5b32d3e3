"""A grid of arms through the same runner: killed and resumed, compared with its baseline, named by its arm."""

import pandas as pd
import pytest

from eval.command_line import split_literals
from eval.store.evaluations import find_evaluations
from studies.grid import axes, run_cell, stages
from studies.grid_table import table
from studies.mvc_grid import MVCCell, mvc_stages
from studies.results import publish
from tests.studies.test_grid import calls_of, cell, speak


def arm(conditioning: str, seed: int = 0, overrides: tuple[str, ...] = (), **settings) -> MVCCell:
    return MVCCell(conditioning, seed, overrides, "conv", settings | {"conditioning": conditioning})


def test_commands_of_an_arm(tmp_path):
    given = ("experiment=mvc_grid", "conditioning=mvc", "seed=2", "sizes.text_blocks=6")
    given += ("cell.mix=true", "run=/g", "paths.corpus=/c", "hydra/launcher=ray")
    assert axes(given) == ("sizes.text_blocks=6",)
    one = arm("mvc", 2, axes(given))
    train, evaluate = mvc_stages(one, tmp_path, given, {"limit": 9})
    folder = tmp_path / "works" / one.work
    assert train.argv[1:] == (
        *("experiment=mvc_grid", "conditioning=mvc", "seed=2", "sizes.text_blocks=6"),
        *("paths.corpus=/c", "task=mvc", "~cell", f"run='{folder / 'run'}'", "hydra.mode=RUN"),
    )
    named = split_literals(evaluate.argv[1:])[1]["models"]
    assert named == {"student": str(folder / "run" / "mvc")}
    assert evaluate.argv[-2:] == ("seed_index=2", "limit=9")


def test_arms_and_seeds_have_works_of_their_own():
    cells = [arm("mvc"), arm("conv"), arm("mvc", 1), arm("mvc", steps=3)]
    assert len({one.work for one in cells}) == 4 and arm("mvc").work.startswith("mvc-s0-")
    assert arm("mvc").name != arm("mvc", overrides=("sizes.text_blocks=6",)).name


def test_two_arms_in_one_folder_one_of_them_killed_and_done_again(tmp_path):
    grid = tmp_path / "grid"
    base, mine = arm("conv"), arm("mvc")
    assert run_cell(grid, base, speak(grid, base, errors=(1, 1, 1)), 2) == "done"
    broken = stages(cell(), grid, tmp_path, (), {})[:1]
    killed = [type(broken[0])("train", ("-c", "import os; os.kill(os.getpid(), 9)"))]
    assert run_cell(grid, mine, killed, 2) == "failed"
    rows = {row["conditioning"]: row for row in table(grid)}
    assert "killed by signal 9" in rows["mvc"]["error"] and rows["conv"]["status"] == "done"
    (grid / "works" / mine.work / "result.json").unlink()
    assert run_cell(grid, mine, speak(grid, mine, errors=(1, 2, 3)), 2) == "done"
    assert run_cell(grid, base, speak(grid, base), 2) == "done"
    assert calls_of(grid) == [base.work, mine.work]
    rows = {row["conditioning"]: row for row in table(grid)}
    assert rows["mvc"]["wer_difference"] == pytest.approx(0.1)
    assert "wer_difference" not in rows["conv"] and "ratio" not in rows["mvc"]
    assert list(pd.read_csv(grid / "grid.csv")["conditioning"]) == ["conv", "mvc"]
    assert [one.name for one in find_evaluations(grid)] == ["conv", "mvc"]


def test_a_baseline_is_the_plain_arm_alone(tmp_path):
    grid = tmp_path / "grid"
    deep = arm("conv", overrides=("sizes.text_blocks=6",), steps=1)
    for one in (arm("conv"), deep):
        run_cell(grid, one, speak(grid, one), 2)
    rows = {row["overrides"]: row for row in table(grid)}
    assert "wer_difference" not in rows[""] and "wer_difference" in rows["sizes.text_blocks=6"]


def test_a_grid_of_arms_is_published_with_what_the_stages_wrote(tmp_path):
    grid = tmp_path / "grid"
    for one in (arm("conv"), arm("mvc")):
        run_cell(grid, one, speak(grid, one), 2)
        (grid / "works" / one.work / "run" / "config.json").write_text('{"settings": {}}')
    (grid / "compare.csv").write_text("measure\n")
    results = publish(grid, tmp_path / "out")
    assert list(results.cells["conditioning"]) == ["conv", "mvc"]
    assert (results.cells["wer_corpus_low"] < results.cells["wer_corpus"]).all()
    assert results.cells["wer_difference"].isna().all()  # to a teacher, which arms have not
    assert (tmp_path / "out" / "compare.csv").read_text() == "measure\n"
    assert not (tmp_path / "out" / "prosody.csv").exists()
