"""A whole small world on disk for every test that asks, and what was skipped in the last lines."""

from collections import Counter
from pathlib import Path

import pytest

from tools import tiny_world as worlds


def pytest_terminal_summary(terminalreporter) -> None:
    """The last lines name what was missing: every reason to skip, with the number of its tests."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[text.removeprefix("Skipped: ")] += 1
    if reasons:
        terminalreporter.section(f"skipped: {reasons.total()}")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:4d}  {reason}")


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory) -> Path:
    """A folder that can stand for assets/mini: `paths.assets=`, `system.codec=`, `testset.meta=`."""
    return worlds.make(tmp_path_factory.mktemp("tiny_world"))
