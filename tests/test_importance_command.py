"""The command line of importance.py on a tiny teacher: every mode writes scores that a placement reads."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from importance import main
from mamtra.transfer.scores import load_scores

ROOT = Path(__file__).parents[1]
SHORT = (
    "start=calibrated",
    "steps=2",
    "trainer.val_every=2",
    "trainer.log_every=1",
    "train_tokens=200",
)
OPTIONS = {
    "cosine": (),
    "oas": (),
    "swap": (),
    "kl": SHORT,  # with the precision that it has by default
    "wer": ("items=[0,2]", "synthesis_batch=2"),
}


@pytest.fixture
def importance(tiny_world, tmp_path, monkeypatch, capsys):
    """Runs importance.main in `tmp_path`; returns what it printed. Errors are SystemExit."""
    monkeypatch.chdir(tmp_path)

    def run(mode: str, *more: str) -> str:
        places = (f"paths.assets={tiny_world}", f"system.codec={tiny_world}", "paths.runs=runs")
        given = (f"mode={mode}", *places, f"testset.meta={tiny_world}/meta.lst", "threads=1")
        given = (*given, "batch.max_tokens=200", *OPTIONS.get(mode, ()), *more)
        with initialize_config_dir(str(ROOT / "configs"), version_base=None):
            config = compose("importance", overrides=list(given))
        capsys.readouterr()
        main(config)
        return capsys.readouterr().out

    return run


@pytest.mark.weights
@pytest.mark.parametrize("mode", OPTIONS)
def test_every_mode_writes_scores_that_a_placement_reads(mode, importance, tiny_world, tmp_path):
    assert f"runs/importance/{mode}.json" in importance(mode)
    scores = load_scores(tmp_path / f"runs/importance/{mode}.json", mode, tiny_world / "teacher")
    assert len(scores.layers) == 4 and scores.n >= 2
    assert all(layer.low <= layer.score <= layer.high for layer in scores.layers)
    assert (tmp_path / f"runs/importance/{mode}.svg").read_text().count("<svg") == 1
    if mode in ("cosine", "oas", "swap"):
        first = (tmp_path / f"runs/importance/{mode}.json").read_text()
        importance(mode)
        assert (tmp_path / f"runs/importance/{mode}.json").read_text() == first


def test_what_cannot_be_scored_is_one_line(importance, tmp_path):
    with pytest.raises(SystemExit, match=r"error: .*nowhere"):
        importance("cosine", "paths.teacher=nowhere")
    with pytest.raises(SystemExit, match="error: "):
        importance("wer", "testset.meta=nowhere.lst")
