"""Which commit made a number, and whether the tree was that of the commit."""

import subprocess

import pytest

from eval.store.manifest import git_state


@pytest.fixture
def checkout(tmp_path):
    def git(*words):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "old.csv").write_text("a\n")
    (tmp_path / "code.py").write_text("1\n")
    git("init", "-q")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "a")
    return tmp_path


def test_results_that_a_command_adds_leave_the_tree_clean(checkout):
    assert git_state(checkout)["dirty"] is False and len(git_state(checkout)["sha"]) == 40
    (checkout / "results" / "new.csv").write_text("b\n")
    assert git_state(checkout)["dirty"] is False


@pytest.mark.parametrize("name", ["code.py", "results/old.csv", "other.py"])
def test_what_changes_or_may_change_a_result_makes_it_dirty(checkout, name):
    (checkout / name).write_text("2\n")
    assert git_state(checkout)["dirty"] is True


def test_outside_a_checkout_nothing_is_known(tmp_path):
    assert git_state(tmp_path / "nowhere") == {"sha": None, "dirty": None}
