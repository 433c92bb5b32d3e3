"""Scores of two teachers: those of the layers that were told to read, and of the rest."""

import json

import pytest

from eval.store.files import InputError
from studies.documents.open_importance import FOLDER, TEACHER_B, importance_values
from studies.documents.sources import Sources


@pytest.fixture
def sources(tmp_path):
    (tmp_path / FOLDER).mkdir(parents=True)
    scores = [0.1, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.3, 0.8, 0.9, 0.7]
    layers = [{"score": score} for score in scores]
    (tmp_path / FOLDER / "oas_teacher_b.json").write_text(json.dumps({"layers": layers}))
    again = [{"score": score} for score in [*scores[:9], 0.4, 0.6, 0.5]]
    (tmp_path / FOLDER / "kl_teacher_b_1500.json").write_text(json.dumps({"layers": again}))
    (tmp_path / FOLDER / "oas.json").write_text(json.dumps({"layers": layers}))
    path = tmp_path / TEACHER_B
    path.parent.mkdir(parents=True)
    path.write_text(
        "wer_corpus,wer_corpus_low,wer_corpus_high,n_scored,n_voices\n0.25,0.1,0.6,9,3\n"
    )
    return Sources(tmp_path)


def test_what_was_told_and_what_was_not(sources):
    assert importance_values(sources, "oas.b.guided") == "0.70 to 0.90"
    assert importance_values(sources, "oas.b.rest") == "0.30"
    assert importance_values(sources, "oas.b.order") == "10, 9, 11"
    assert importance_values(sources, "kl.b1500.guided") == "0.40 to 0.60"
    assert importance_values(sources, "kl.b1500.order") == "10, 11, 9"
    assert importance_values(sources, "oas.a.guided") == "0.00 to 0.30"  # layers 3 to 8
    assert importance_values(sources, "oas.a.rest") == "0.90"
    assert importance_values(sources, "b.wer") == "25.0 [10.0, 60.0]"


@pytest.mark.parametrize("name", ["oas.c.rest", "oas.b.mean", "b.mos", "a.wer"])
def test_another_name_is_refused(sources, name):
    with pytest.raises(InputError, match=f"no value open_importance.{name}"):
        importance_values(sources, name)


def test_a_score_that_was_not_measured_is_named(sources):
    with pytest.raises(InputError, match=r"kl_teacher_b\.json does not exist"):
        importance_values(sources, "kl.b.rest")
