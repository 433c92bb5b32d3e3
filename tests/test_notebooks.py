"""The notebooks run on the committed results, and are committed without outputs."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_the_notebooks_are_there():
    expected = {"ce_vs_wer", "efficiency", "initialisation", "layer_importance", "objective"}
    expected |= {"mvc_arms", "open_controls", "placement_grid"}
    assert {path.stem for path in NOTEBOOKS} == expected


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert cell.cell_type != "code" or (not cell.outputs and cell.execution_count is None)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path):
    run(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ce_vs_wer", "placement_grid"])
def test_it_shows_the_first_system_where_it_is_told_to(name):
    run(ROOT / "notebooks" / f"{name}.ipynb", 'Path("results/mini-grammar/grid")')


def run(path, grid=None):
    """A notebook, with another grid than its own where one is given; it must show numbers and every figure."""
    notebook = nbformat.read(path, as_version=4)
    if grid:
        cells = [cell for cell in notebook.cells if cell.source and "GRID = " in cell.source]
        [cell] = [cell for cell in cells if cell.cell_type == "code"]
        cell.source = re.sub(r"^GRID = .*$", f"GRID = {grid}", cell.source, flags=re.MULTILINE)
        assert f"GRID = {grid}" in cell.source
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    shown = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type in ("display_data", "execute_result")
    ]
    # A table counts when it has numbers in it, a figure when it is drawn: both come from results/.
    tables = [output.data.get("text/html", "") for output in shown]
    numbers = [len(re.findall(r"<td>-?\d+(?:\.\d+)?</td>", table)) for table in tables]
    figures = sum("image/png" in output.data for output in shown)
    assert [n for n in numbers if n >= 4], f"{path.name} shows no table with numbers"
    drawn = sum(cell.source.count("plt.show()") for cell in notebook.cells)
    assert figures == drawn, f"{path.name} shows {figures} of {drawn} figures"
