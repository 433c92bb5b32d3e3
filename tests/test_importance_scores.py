"""The committed importance scores are of the shipped teacher and choose the layers they seem to."""

from pathlib import Path

import pytest

from mamtra.backbone.layer_plan import MEASURED, attention_layers
from mamtra.transfer.scores import load_scores

ROOT = Path(__file__).parents[1]
SCORES, TEACHER = ROOT / "results/mini-grammar/importance", ROOT / "assets/mini/teacher"


@pytest.mark.parametrize("mode", MEASURED)
def test_scores_are_of_the_shipped_teacher(mode):
    scores = load_scores(SCORES / f"{mode}.json", mode, TEACHER)
    assert len(scores.layers) == 12 and scores.n >= 100
    for layer in scores.layers:
        assert layer.low <= layer.score <= layer.high


def test_they_disagree_about_the_first_layer():
    """What the results hang on: untrained conversion makes layer 0 look indispensable."""
    kept = {}
    for mode in MEASURED:
        values = load_scores(SCORES / f"{mode}.json", mode, TEACHER).values
        kept[mode] = attention_layers(12, "1:11", mode, values)
    assert kept == {"cosine": (0,), "kl": (7,), "swap": (0,), "wer": (0,), "oas": (6,)}


def test_alignment_finds_the_guided_layers():
    """Heads of 3 to 8 were told to attend to the letter being spoken (configs/experiment/mini_teacher.yaml)."""
    values = load_scores(SCORES / "oas.json", "oas", TEACHER).values
    assert attention_layers(12, "1:1", "oas", values) == (3, 4, 5, 6, 7, 8)
