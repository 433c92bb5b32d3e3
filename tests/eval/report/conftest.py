"""A board of six systems."""

from pathlib import Path

import pytest

from eval.report.board.board import write_board
from tests.eval.made_up import RECIPES
from tests.eval.report.boards import EVIL, OTHER_ASR, QUIET, evaluation


@pytest.fixture
def board(tmp_path) -> Path:
    for number, name in enumerate(("teacher", EVIL, "1to1-blockbeg", "1to3-blockbeg", "1to1-kl")):
        evaluation(tmp_path / "results", name, rate=0.05 * (number + 1), wavs=number < 2)
    evaluation(tmp_path / "results", "elsewhere", recipes=RECIPES | OTHER_ASR)
    return write_board(
        tmp_path / "results", tmp_path / "board", QUIET, title=EVIL, baseline="teacher", n_worst=3
    )
