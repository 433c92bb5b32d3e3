"""`python -m studies.tables`: marks, bad input, and numbers that move with the results."""

import shutil
from pathlib import Path

import pytest

from eval.store.files import InputError
from studies import tables
from studies.documents.markers import names_in, rewritten
from studies.documents.sources import Sources

ROOT = Path(__file__).parents[2]


def test_marks_are_filled_and_stay():
    text = "a <!-- v: x -->1<!-- end --> b\n<!-- table: y -->\nold\n<!-- end -->\nc"
    made = rewritten(text, "f", lambda name: f"| {name} |", lambda name: f"{name}!")
    assert made == "a <!-- v: x -->x!<!-- end --> b\n<!-- table: y -->\n| y |\n<!-- end -->\nc"
    assert rewritten(made, "f", lambda name: f"| {name} |", lambda name: f"{name}!") == made
    assert names_in(made) == (["y"], ["x"])


def test_marks_in_code_are_code():
    text = "```\n<!-- v: x -->1<!-- end -->\n<!-- table: y -->\n```\n"
    assert rewritten(text, "f", str.upper, str.upper) == text and names_in(text) == ([], [])


@pytest.mark.parametrize(
    "text",
    [
        "a\n<!-- v: x -->1",
        "a\n1<!-- end -->",
        "a\n<!-- table: y -->\n| 1 |",
        "a\n<!-- v: x -->1\n2<!-- end -->",
        "a\n<!-- v: x --> <!-- v: z -->1<!-- end -->",
    ],
)
def test_a_mark_without_its_other_half_is_named_with_its_line(text):
    with pytest.raises(InputError, match=r"^f\.md:2: .*lacks its other half"):
        rewritten(text, "f.md", str, str)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            "<!-- table: grids -->\n<!-- end -->",
            r"README\.md:2: no table 'grids'; there are: .*grid",
        ),
        ("<!-- v: girl.x -->1<!-- end -->", r"README\.md:2: no value 'girl\.x'; it begins with"),
        ("<!-- v: grid.wre -->1<!-- end -->", r"no fact 'wre' of the grid; there are: rows"),
        (
            "<!-- v: open_plans.rows -->1<!-- end -->",
            r"no value 'rows' of the open plans; there are: plans",
        ),
        ("<!-- v: grid.kl-1to7.wer -->1<!-- end -->", "no finished cell 1to7 kl"),
        ("<!-- v: measured.make.x -->1<!-- end -->", r"no row 'make\.x' in results/measured\.csv"),
        ("<!-- v: long.7.wer -->1<!-- end -->", "no value '7.wer' of results/mini-grammar/long"),
    ],
)
def test_an_unknown_name_is_said_with_its_place(asked, message, tmp_path):
    (tmp_path / "results").symlink_to(ROOT / "results")
    (tmp_path / "README.md").write_text(f"# Title\n{asked}\n")
    with pytest.raises(InputError, match=message):
        tables.made(tmp_path)


def test_a_missing_file_of_results_is_named(tmp_path):
    for name, table in (
        ("results/mini-grammar/demo_runs.csv", "demo"),
        ("results/cosyvoice2/training_memory.json", "memory"),
        ("results/mini-grammar/grid/cells.csv", "grid"),
    ):
        with pytest.raises(InputError, match=name):
            tables.block(Sources(tmp_path), table)


def test_a_group_that_is_not_there_is_said(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "measured.csv").write_text(
        "group,key,what,where,measured,target,command,date\n"
    )
    with pytest.raises(InputError, match=r"no group 'pipeline' in results/measured\.csv"):
        tables.block(Sources(tmp_path), "pipeline")


def test_another_result_is_another_document(tmp_path):
    """The check fails when results and documents part, and names the place."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# T\n<!-- v: demo.gap -->+2.0 to +4.9<!-- end -->\n")
    shutil.copytree(ROOT / "results", tmp_path / "results")
    shutil.copytree(ROOT / "docs" / "figures", tmp_path / "docs" / "figures")
    runs = tmp_path / "results" / "mini-grammar" / "demo_runs.csv"
    runs.write_text(runs.read_text().replace("11.24", "12.24"))
    (tmp_path / "docs" / "figures" / "ce_vs_wer.svg").write_text("<svg/>")
    wrong, drawn = tables.faults(tmp_path)
    assert wrong.startswith("README.md:2: ") and "+2.0 to +5.9" in wrong
    assert drawn == "docs/figures/ce_vs_wer.svg is not what the results draw"


@pytest.mark.parametrize("arguments", [["chekc=true"], ["check=true", "x=1"]])
def test_unknown_arguments_print_the_usage(arguments, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tables", *arguments])
    with pytest.raises(SystemExit, match=r"usage: python -m studies\.tables"):
        tables.main()
