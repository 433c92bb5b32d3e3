"""The house: short files, few of them side by side in eval/, and a room that a newcomer finds by its name."""

import ast
import subprocess
from pathlib import Path
from types import SimpleNamespace

from tests.conftest import pytest_terminal_summary

ROOT = Path(__file__).parents[1]
LINES = 300


def python_files() -> list[str]:
    """Paths of the repository's own files: those of git where there is one, else all outside hidden folders."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0 and listed.stdout:
        return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
    return [str(path) for path in found if not any(part.startswith(".") for part in path.parts)]


def test_no_file_is_long():
    lengths = {name: len((ROOT / name).read_text().splitlines()) for name in python_files()}
    assert len(lengths) > 300
    assert {name: n for name, n in lengths.items() if n > LINES} == {}


def test_few_files_lie_directly_in_eval_and_metrics_have_their_room():
    files = sorted(path.name for path in (ROOT / "eval").glob("*.py") if path.stem != "__init__")
    assert len(files) <= 6, files
    rooms = {path.name for path in (ROOT / "eval").iterdir() if (path / "__init__.py").is_file()}
    assert {"metrics", "store", "synthesis", "scoring", "analysis", "report"} <= rooms
    assert (ROOT / "eval/metrics/registry.py").is_file()


def test_the_last_lines_name_what_skipped_tests_were_missing():
    lines: list[str] = []
    reasons = [("a.py", 3, "Skipped: no browser"), ("b.py", 9, "Skipped: no browser"), "needs CUDA"]
    pytest_terminal_summary(
        SimpleNamespace(
            stats={"skipped": [SimpleNamespace(longrepr=reason) for reason in reasons]},
            section=lines.append,
            write_line=lines.append,
        )
    )
    assert lines == ["skipped: 3", "   2  no browser", "   1  needs CUDA"]


def test_what_comes_from_data_is_never_markup_of_the_console():
    """`console.print(f"...")` needs markup=False, or `escape` around each of its values."""
    found = []
    for name in python_files():
        for node in ast.walk(ast.parse((ROOT / name).read_text())):
            if not (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args
            ):
                continue
            where, text = ast.unparse(node.func).lower(), node.args[0]
            if not where.endswith("console.print") or not isinstance(text, ast.JoinedStr):
                continue
            values = [part.value for part in text.values if isinstance(part, ast.FormattedValue)]
            escaped = all(ast.unparse(value).startswith("escape(") for value in values)
            plain = any(ast.unparse(keyword) == "markup=False" for keyword in node.keywords)
            found += [] if escaped or plain else [f"{name}:{node.lineno}"]
    assert found == []
