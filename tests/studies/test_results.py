"""The committed form of a grid: what is collected, what is refused, what the figures take from it."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from eval.store.files import InputError
from mamtra.backbone.layer_plan import RATIOS
from studies.figures import ce_wer_scatter, heat_map, pivot, write_figures
from studies.grid_table import of_plans
from studies.results import main, publish, read_results
from tests.eval.stored import WER, put_evaluation

WORDS = [4, 6, 5]


def add_work(grid, work, errors, ce=2.7, recipes=None, **more):
    """A finished work with `errors` per utterance; None stands for one that was not scored."""
    folder = grid / "works" / work
    (folder / "eval/student").mkdir(parents=True)
    (folder / "run").mkdir()
    rows = [
        {
            "utterance": f"u{i}",
            "voice": f"v{i % 2}",
            "status": "ok",
            "wer": None if n is None else n / words,
            "substitutions": n,
            "deletions": 0,
            "insertions": 0,
            "reference_words": words,
        }
        for i, (n, words) in enumerate(zip(errors, WORDS, strict=True))
    ]
    put_evaluation(folder / "eval", "student", rows, recipes=recipes, **more)
    wer = sum(n or 0 for n in errors) / sum(WORDS)
    (folder / "eval/leaderboard.csv").write_text(f"system,wer_corpus,ce\nstudent,{wer},{ce}\n")
    (folder / "run/metrics.csv").write_text("step,loss,val_ce\n1,3.5,\n2,,2.5\n")
    (folder / "run/config.json").write_text('{"settings": {"steps": 2}, "input_sha256": {}}')
    done = {"status": "done", "error": None, "version": "v", "train_s": 5.0, "evaluate_s": 2.0}
    (folder / "result.json").write_text(json.dumps(done))


def add_cell(grid, ratio, placement, work, plan=("attention", "mamba"), **more):
    (grid / "cells").mkdir(exist_ok=True)
    cell = {"ratio": ratio, "placement": placement, "seed": 0, "overrides": [], "plan": plan}
    path = grid / "cells" / f"{ratio}-{placement}.json"
    path.write_text(json.dumps({**cell, "work": work, **more}))


@pytest.fixture
def grid(tmp_path):
    folder = tmp_path / "grid"
    add_work(folder, "AM-s0-1", [0, 3, 1])
    add_work(folder, "MA-s0-2", [1, None, 2], ce=3.1)
    add_cell(folder, "1to1", "front", "AM-s0-1")
    add_cell(folder, "1to1", "wer", "AM-s0-1")
    add_cell(folder, "1to1", "back", "MA-s0-2")
    add_cell(folder, "1to3", "back", None, plan=[], error="no scores")
    (folder / "grid.json").write_text('{"versions": ["abc"]}')
    return folder


def test_tables_come_back_as_they_were(grid, tmp_path):
    results = publish(grid, tmp_path / "out")
    assert results.cells["status"].tolist().count("done") == 3 == len(results.done())
    assert (
        results.cells.set_index(["ratio", "placement"]).loc[("1to3", "back"), "error"]
        == "no scores"
    )
    assert len(results.utterances) == 6, "a shared work is one set of utterances"
    assert sorted(results.curves["work"].unique()) == ["AM-s0-1", "MA-s0-2"]
    assert results.curves.dropna(subset=["val_ce"])["val_ce"].tolist() == [2.5, 2.5]
    found = results.manifest
    assert found["code_versions"] == ["abc"] and found["cells"] == {"done": 3, "failed": 1}
    assert found["process_seconds"] == {"train_s": 10, "evaluate_s": 4}
    assert found["runs"]["AM-s0-1"]["settings"] == {"steps": 2}
    evaluation = found["evaluation"]
    assert evaluation["meta_sha256"] == "t" and evaluation["metrics"] == {"wer": WER}


def test_a_table_says_where_each_work_was_made_and_not_only_where_it_was_published(grid, tmp_path):
    """Cells that a GPU trained are published on another machine."""
    for work, device in (("AA-1", "NVIDIA H200"), ("AA-2", "NVIDIA H200"), ("AA-3", "cpu")):
        made = {"runtime": {"device": device[:4]}, "software": {"torch": "2"}}
        run = {"machine": {"device": device}, "packages": {"torch": "2"}}
        add_work(grid, work, [0, 1, 1], card={"provenance": made}, run=run)
        add_cell(grid, "1to0", work, work, plan=("attention", "attention"))
    found = publish(grid, tmp_path / "out").manifest
    assert found["published"]["machine"]["processor"] and "machine" not in found
    trained = {(one["runtime"] or {}).get("device"): one["works"] for one in found["trained"]}
    assert trained == {"NVID": 2, "cpu": 1, None: 2}
    machines = {one["machine"]["device"]: one["works"] for one in found["evaluation"]["machines"]}
    assert machines == {"NVIDIA H200": 2, "cpu": 1}


def test_works_that_were_evaluated_in_different_ways_are_not_published(grid, tmp_path):
    add_work(grid, "AA-s0-0", [0, 1, 1], recipes={"wer": WER | {"asr": "asr-other"}})
    add_cell(grid, "1to0", "front", "AA-s0-0", plan=("attention", "attention"))
    with pytest.raises(InputError, match=r"different recipes of wer .asr: asr-"):
        publish(grid, tmp_path / "out")


def test_voices_of_old_tables_are_read_off_their_prompts(grid, tmp_path):
    publish(grid, tmp_path / "out")
    path = tmp_path / "out/utterances.parquet"
    table = pd.read_parquet(path).drop(columns="voice")
    prompts = ["prompt-v07-0.flac", "prompt-v07-1.flac", "spk1/prompt.wav"] * 2
    table.assign(prompt=prompts).to_parquet(path, index=False)
    _, _, voices = read_results(tmp_path / "out").errors(["AM-s0-1"])
    assert voices == ["v07", "v07", "spk1/prompt.wav"]


def test_intervals_are_todays_and_differences_are_to_the_teacher(grid, tmp_path):
    add_work(grid, "AA-s0-0", [0, 1, 1])
    add_cell(grid, "1to0", "front", "AA-s0-0", plan=("attention", "attention"))
    out = tmp_path / "out"
    publish(grid, out)
    old = pd.read_csv(out / "cells.csv").assign(wer_corpus_low=-1.0, wer_difference_low=-1.0)
    old.to_csv(out / "cells.csv", index=False)
    cells = read_results(out).cells.set_index("work")
    one = cells.loc["AM-s0-1"].iloc[0]
    assert 0 < one["wer_corpus_low"] < 4 / 15 < one["wer_corpus_high"]
    assert one["wer_difference"] == pytest.approx(2 / 15) and one["wer_difference_low"] != -1
    assert cells.loc["MA-s0-2", "wer_difference"] == pytest.approx(2 / 9), "what both have"
    assert np.isnan(cells.loc["AA-s0-0", "wer_difference"])


def test_controls_are_no_teachers_and_twins_are_not_drawn(grid, tmp_path, monkeypatch):
    add_work(grid, "AA-s0-0", [0, 1, 1])
    add_cell(grid, "1to0", "front", "AA-s0-0", plan=("attention", "attention"))
    add_work(grid, "AA-s0-1", [0, 0, 1], ce=2.6)
    add_cell(grid, "1to0", "continued", "AA-s0-1", plan=("attention", "attention"))
    add_work(grid, "AW-s0-3", [0, 0, 0], ce=2.5)
    add_cell(grid, "1to1", "kl", "AW-s0-3", plan=("attention", "window"))
    results = publish(grid, tmp_path / "out")
    cells = results.cells.set_index("work")
    assert cells.loc["AA-s0-1", "wer_difference"] == pytest.approx(-1 / 15)
    assert cells.loc["AW-s0-3", "wer_difference"] == pytest.approx(-2 / 15)
    drawn = []
    monkeypatch.setattr(
        "studies.figures.ce_wer_scatter",
        lambda axes, cells, ce, wer, title, teacher=(): drawn.append((cells, teacher)),
    )
    write_figures(results.done(), pd.DataFrame(), tmp_path / "figures")
    students, teacher = drawn[0]
    assert "AW-s0-3" not in set(students["work"]) and teacher == pytest.approx(
        [2.7, 2 / 15], abs=1e-4
    )


def test_errors_are_of_the_shared_utterances_in_the_asked_order(grid, tmp_path):
    results = publish(grid, tmp_path / "out")
    errors, words, voices = results.errors(["MA-s0-2", "AM-s0-1", "MA-s0-2"])
    assert errors.tolist() == [[1, 2], [0, 1], [1, 2]]
    assert words.tolist() == [4, 5] and voices == ["v0", "v0"]
    with pytest.raises(InputError, match="no scored utterances of XX"):
        results.errors(["XX"])


def test_the_command_writes_tables_and_figures(grid, tmp_path, monkeypatch, capsys):
    out, figures = tmp_path / "out", tmp_path / "figures"
    monkeypatch.setattr("sys.argv", ["x", f"grid={grid}", f"out={out}", f"figures={figures}"])
    main()
    first = {path.name: path.read_bytes() for path in figures.iterdir()}
    assert set(first) == {"placement_grid.svg", "ce_vs_wer.svg"}
    assert "4 cells" in capsys.readouterr().out and (out / "cells.csv").is_file()
    main()
    assert {path.name: path.read_bytes() for path in figures.iterdir()} == first
    paper = pd.DataFrame({"ratio": ["1to1"], "placement": ["front"], "ce": [4.0], "wer": [0.1]})
    named = write_figures(read_results(out).done(), paper, tmp_path, "_open", "open system")
    assert [path.name for path in named] == ["placement_grid_open.svg", "ce_vs_wer_open.svg"]


def test_a_map_shows_one_seed_or_the_mean_of_all(tmp_path, monkeypatch):
    rows = [(0, 0.1, 3.0), (1, 0.3, 4.0)]
    cells = pd.DataFrame(rows, columns=["seed", "wer_corpus", "ce"])
    cells = cells.assign(ratio="1to1", placement="front", plan="AM", overrides="", work=["a", "b"])
    paper = pd.DataFrame({"ratio": ["1to1"], "placement": ["front"], "ce": [4.0], "wer": [0.1]})
    maps = []
    monkeypatch.setattr("studies.figures.heat_map", lambda axes, values, *more: maps.append(values))
    for means in (False, True):
        write_figures(cells, paper, tmp_path, means=means)
    shown = [float(values.loc["front", "1to1"]) for values in maps]
    assert shown == pytest.approx([10, 3.0, 20, 3.5])


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"cells\.csv does not exist.*studies\.results"):
        read_results(tmp_path)
    with pytest.raises(InputError, match="holds no cells"):
        publish(tmp_path, tmp_path / "out")
    monkeypatch.setattr("sys.argv", ["results", "grid=x"])
    with pytest.raises(SystemExit, match="usage"):
        main()


def test_every_ratio_of_the_code_is_drawn():
    ratios = [ratio.replace(":", "to") for ratio in RATIOS]
    cells = pd.DataFrame(
        {"placement": "front", "ratio": ratios[::-1], "wer_corpus": 0.1, "ce": 2.5}
    )
    assert pivot(cells, "wer_corpus").columns.tolist() == ratios and "1to2" in ratios
    figure, axes = plt.subplots()
    ce_wer_scatter(axes, cells, "ce", "wer_corpus", "t")
    assert sum(len(c.get_offsets()) for c in axes.collections) == len(ratios)
    plt.close(figure)


def test_the_heat_map_shows_the_table():
    cells = pd.DataFrame(
        {
            "placement": ["wer", "front", "front", "front"],
            "ratio": ["1to3", "1to1", "1to3", "1to3"],
            "wer_corpus": [0.1, 0.2, 0.3, 0.5],
        }
    )
    table = pivot(cells, "wer_corpus")
    assert table.index.tolist() == ["front", "wer"] and table.columns.tolist() == ["1to1", "1to3"]
    assert table.to_numpy() == pytest.approx(np.array([[0.2, 0.4], [np.nan, 0.1]]), nan_ok=True)
    figure, axes = plt.subplots()
    heat_map(axes, 100 * table, "WER")
    texts = {text.get_text() for text in axes.texts}
    assert {"20.0", "40.0", "10.0", "–"} <= texts
    plt.close(figure)


def test_the_scatter_has_a_point_per_cell():
    cells = pd.DataFrame(
        {
            "placement": ["front", "back"],
            "ratio": ["1to1", "1to3"],
            "ce": [2.5, 3.0],
            "wer_corpus": [0.1, 0.4],
        }
    )
    figure, axes = plt.subplots()
    ce_wer_scatter(axes, cells, "ce", "wer_corpus", "t", [2.4, 0.07])
    points = np.array([p for c in axes.collections for p in c.get_offsets().tolist()])
    expected = np.array([(2.4, 7.0), (2.5, 10.0), (3.0, 40.0)])
    assert points[points[:, 0].argsort()] == pytest.approx(expected)
    plt.close(figure)


def test_tables_over_ratio_and_placement_leave_twins_out():
    """Another mixer, other data or steps make a row of its own; where a cell was made does not."""
    rows = [("AM", ""), ("AM", None), ("AM", "paths=open trainer=gpu trainer.precision=32-true")]
    rows += [("AM", "data=mixed"), ("AM", "trainer=gpu steps=0"), ("AW", ""), ("AA", "")]
    cells = pd.DataFrame(rows, columns=["plan", "overrides"])
    assert of_plans(cells).index.tolist() == [0, 1, 2, 6]
