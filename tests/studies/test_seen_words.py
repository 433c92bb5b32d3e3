"""Errors on words that training texts have and on others."""

import pandas as pd
import pytest
from rich.console import Console

from eval.store.files import InputError
from studies.seen_words import report
from tests.eval.made_up import scored_row, store_system

QUIET = Console(quiet=True)


@pytest.fixture
def tokens(tmp_path):
    path = tmp_path / "tokens.parquet"
    texts = {"train": "A cat, her dog and bird!", "test": "cow pig"}
    pd.DataFrame({"split": texts.keys(), "text": texts.values()}).to_parquet(path)
    return path


def test_wrong_words_are_counted_by_kind_and_insertions_by_none(tokens, tmp_path):
    said = [
        ("cat dog cow pig", "cat dock cow pig"),  # a seen word substituted
        ("bird cow", "bird how how"),  # an unseen one substituted, and a word too many
        ("cat pig", None),  # all lost
    ]
    rows = [
        scored_row(
            f"u{i}", text=text, transcript=heard, voice=f"v{i}", reference_words=2 + 2 * (not i)
        )
        for i, (text, heard) in enumerate(said)
    ]
    store_system(tmp_path / "results", "student", rows)
    (rates,) = report(tmp_path / "results", tokens, QUIET)
    assert (rates.seen_words, rates.unseen_words) == (4, 4)
    assert rates.seen.point == pytest.approx(2 / 4) and rates.unseen.point == pytest.approx(2 / 4)
    assert rates.ratio == pytest.approx(1.0) and rates.seen.clusters == 3
    table = pd.read_csv(tmp_path / "results" / "seen_words.csv")
    assert table.loc[0, "unseen_point"] == pytest.approx(0.5)


def test_a_list_without_unseen_words_has_no_rate_of_them(tokens, tmp_path):
    rows = [scored_row("u0", text="cat dog", transcript="cat dog", reference_words=2)]
    store_system(tmp_path / "results", "student", rows)
    (rates,) = report(tmp_path / "results", tokens, QUIET)
    assert rates.unseen is None and rates.ratio is None and rates.seen.point == 0


@pytest.mark.parametrize("content", ["nothing", "no_training"])
def test_a_table_that_says_nothing_of_training_is_refused(content, tmp_path):
    store_system(tmp_path / "results", "student", [scored_row("u0")])
    table = tmp_path / "tokens.parquet"
    if content == "no_training":
        pd.DataFrame({"split": ["test"], "text": ["one"]}).to_parquet(table)
    else:
        table.write_text("not a table")
    with pytest.raises(InputError, match=r"tokens\.parquet"):
        report(tmp_path / "results", table, QUIET)
