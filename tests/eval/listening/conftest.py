"""Finished evaluations of three systems."""

from pathlib import Path

import pytest

from tests.eval.listening.making import SYSTEMS
from tests.eval.made_up import scored_row, store_system


@pytest.fixture
def results(tmp_path) -> Path:
    for number, name in enumerate(SYSTEMS):
        rows = [scored_row(f"u{i}") for i in range(8)]
        store_system(tmp_path / "r", name, rows, wav_hz=200 + 50 * number)
    return tmp_path / "r"
