"""What the stages of a cell are told, and how many cells a sweep has."""

from pathlib import Path

from eval.command_line import split_literals
from studies.grid import axes, stages, sweep_size
from tests.studies.test_grid import A, cell


def test_commands_of_a_cell(tmp_path):
    given = ("experiment=mini_grid", "ratio=1to1", "placement=front", "init=paper", "cell.mix=true")
    given += ("seed=2", "paths.assets=/a", "run=/g", "hydra/launcher=ray")
    assert axes(given) == ("init=paper",)
    one, grid = cell(seed=2, overrides=axes(given)), Path("/it's [mine]")
    train, evaluate = stages(
        one, grid, tmp_path / "t", given, {"limit": 9, "testset": {"meta": "m"}}
    )
    run_folder = grid / "works" / one.work / "run"
    assert train.argv[1:] == (
        *(
            "experiment=mini_grid",
            "init=paper",
            "seed=2",
            "paths.assets=/a",
            "task=distill",
            "~cell",
        ),
        *("plan=AM", "run='" + str(run_folder).replace("'", r"\'") + "'", "hydra.mode=RUN"),
    )
    read = split_literals(evaluate.argv[1:])[1]
    assert read["models"] == {"student": str(run_folder / "student")}
    assert evaluate.argv[-3:] == ("seed_index=2", "limit=9", "testset.meta='m'")
    only = stages(cell(plan=(A, A)), tmp_path, tmp_path / "t", given, {})
    assert [stage.name for stage in only] == ["evaluate"]
    assert split_literals(only[0].argv)[1]["models"] == {"student": str(tmp_path / "t")}


def test_sweep_size_counts_what_the_command_line_replaced():
    params = {"ratio": "1to1,1to3", "placement": "front,back,wer"}
    assert sweep_size(params, ["x/train.py", "-m", "experiment=mini_grid"]) == 6
    assert sweep_size(params, ["train.py", "ratio=1to1", "seed=0,1", "-m"]) == 6
    assert sweep_size(params, ["worker"]) is None
