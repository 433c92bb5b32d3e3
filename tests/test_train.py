"""The command line of train.py, in a folder of its own, on a tiny teacher and corpus."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir

from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import load_lm, save_lm
from mamtra.lm.speech_lm import SpeechLM
from mamtra.text.characters import CharacterTokenizer
from tasks import identity
from train import main, share_checkout

ROOT = Path(__file__).parents[1]
CODES = 11
SHORT = (
    "steps=3",
    "trainer.precision=32-true",
    "trainer.val_every=3",
    "trainer.log_every=1",
    "batch.max_tokens=200",
)
DISTILL = ("experiment=mini_distill", *SHORT)


@pytest.fixture(scope="module")
def assets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("assets")
    rng, rows = random.Random(0), []
    for i in range(24):
        tokens = [rng.randrange(CODES) for _ in range(rng.randint(5, 20))]
        spoken = sorted(rng.randrange(9) for _ in tokens)
        split = "valid" if i < 6 else "train"
        rows.append((f"u{i}", split, "some text", f"v{i % 2}", tokens, spoken))
    columns = ["utterance", "split", "text", "voice", "tokens", "alignment"]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "tokens.parquet")
    torch.manual_seed(0)
    sizes = BackboneSizes(d_model=16, n_layers=4, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=32)
    lm = SpeechLM(sizes, ("attention",) * 4, CharacterTokenizer().vocab_size, CODES)
    save_lm(folder / "teacher", lm, {})
    (folder / "codec.json").write_text('{"text": "characters"}')
    return folder


@pytest.fixture
def overrides(assets):
    """Command-line overrides that point at the tiny assets."""
    return lambda *more: [*more, f"paths.assets={assets}", "paths.runs=runs"]


@pytest.fixture
def train(overrides, tmp_path, monkeypatch, capsys):
    """Runs train.main in `tmp_path`; returns what it printed. Errors are SystemExit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def run(*more: str) -> str:
        capsys.readouterr()
        with initialize_config_dir(str(ROOT / "configs"), version_base=None):
            config = compose("train", overrides=overrides(*more))
        main(config)
        return capsys.readouterr().out

    return run


def test_distil_reuse_refuse_overwrite(train, tmp_path):
    cell = (*DISTILL, "ratio=1to3", "placement=front", "init=paper")
    out = train(*cell)
    assert "transfer, init=paper" in out and "layers: A M M M" in out
    folder = tmp_path / "runs/mini_distill/1to3-front-paper"
    assert load_lm(folder / "student").plan == ("attention", "mamba", "mamba", "mamba")
    provenance = json.loads((folder / "student/model.json").read_text())["provenance"]
    assert provenance["settings"]["seed"] == 0 and len(provenance["input_sha256"]["teacher"]) == 64

    before = (folder / "student/model.safetensors").stat().st_mtime_ns
    assert "is complete" in train(*cell)
    assert (folder / "student/model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(SystemExit, match=r"run of 3 steps, not of 2: .*overwrite=true"):
        train(*cell, "steps=2")
    with pytest.raises(SystemExit, match=r"settings\.seed: 0 -> 1.*overwrite=true"):
        train(*cell, "seed=1")
    train(*cell, "steps=2", "overwrite=true")
    assert pd.read_csv(folder / "metrics.csv")["step"].max() == 2


def test_windows_untrained_and_trained(train, tmp_path):
    cell = (*DISTILL, "mixer=window", "ratio=1to3", "placement=back", "window.size=4")
    out = train(*cell, "steps=0", "run=untrained")
    assert "layers: W W W A" in out and "transfer, init=identity" in out
    untrained = load_lm(tmp_path / "untrained/student")
    assert untrained.plan == ("window",) * 3 + ("attention",) and untrained.sizes.window == 4
    with pytest.raises(SystemExit, match=r"trained for 0 steps and left no checkpoints"):
        train(*cell, "run=untrained")
    train(*cell, "window.start=16")
    trained = load_lm(tmp_path / "runs/mini_distill/1to3-back-identity/student")
    same = torch.equal(trained.llm_decoder.weight, untrained.llm_decoder.weight)
    assert trained.plan == untrained.plan and not same
    with pytest.raises(SystemExit, match=r"window.size=4 window.start=3: .*not below it"):
        train(*cell, "window.start=3")


def test_the_teacher_continued(train, tmp_path, assets):
    train("experiment=mini_continue", *SHORT)
    folder = tmp_path / "runs/mini_continue"
    made, teacher = load_lm(folder / "student"), load_lm(assets / "teacher")
    assert made.plan == teacher.plan
    assert not torch.equal(made.llm_decoder.weight, teacher.llm_decoder.weight)
    settings = json.loads((folder / "config.json").read_text())["settings"]
    assert settings["task"] == "continue" and settings["objective"]["logits"] == 0
    with pytest.raises(SystemExit, match="ratio=1to0, not 1to1"):
        train("experiment=mini_continue", *SHORT, "ratio=1to1", "init=paper", "run=other")


def test_settings_that_came_later_leave_earlier_runs_what_they_were():
    plain = {"mixer": "mamba", "window": {"size": 32, "start": None}, "ratio": "1to1", "steps": 3}
    plain |= {"state": "per_head", "state_dtype": "fp32"}
    assert identity(plain) == {"ratio": "1to1", "steps": 3}
    assert identity(plain | {"mixer": "window"})["mixer"] == "window"
    assert identity(plain | {"window": {"size": 16, "start": None}})["window"]["size"] == 16
    assert identity(plain | {"state": "shared"})["state"] == "shared"
    assert identity(plain | {"plan": "AW", "mixer": "window"}) == {"plan": "AW", "steps": 3}


def test_a_teacher_trains_from_scratch(train, tmp_path):
    sizes = "{d_model: 16, n_layers: 2, n_heads: 2, n_kv_heads: 1, head_dim: 8, d_ff: 32}"
    changes = [f"lm.sizes={sizes}", "lm.speech_vocab=11", "alignment.layers=[1]"]
    train("experiment=mini_teacher", *SHORT, *changes)
    assert load_lm(tmp_path / "runs/mini_teacher/teacher").plan == ("attention", "attention")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ratio=1to11", "ratio 1to11 needs a multiple of 12 layers, got 4"),
        ("objective.embedding=middle", "last_hidden, all_layers, input_embed"),
        ("batch.max_tokens=20", "more than max_tokens=20"),
        ("transfer.freeze=[everything]", "unknown freeze group everything"),
        ("trainer.export=first", "best, last"),
        ("trainer.export_dtype=fp8", "fp32, bf16, fp16"),
        ("task=sing", "codec, vocoder, teacher, layerwise, distill, continue, cell"),
        ("steps=null", "steps=null needs epochs="),
        ("epochs=2", "steps=3 and epochs=2: one of them has to be null"),
        ("optimizer.recipe=adam_constant", r"optimizer\.weight_decay=0\.05: recipe adam_constant"),
        ("trainer.keep=[9]", r"trainer\.keep: step-9 is not among the 3 steps"),
        ("trainer.nodes=2", r"trainer\.nodes=2 needs a process for each device"),
        ("text=runes", "unknown text frontend 'runes'; valid: characters, phonemes, qwen"),
        ("+batch.size=3", r"unknown setting batch.size \(valid: max_tokens, "),
        ("paths.teacher=nowhere", "nowhere does not exist"),
        ("paths.tokens=nowhere", "nowhere does not exist"),
    ],
)
def test_bad_input_is_one_clear_error_before_anything_is_written(
    override, message, train, tmp_path
):
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        train(*DISTILL, override)
    assert list(tmp_path.iterdir()) == []


def test_what_the_teacher_said_is_trained_on_and_in_the_identity(train, assets, tmp_path):
    said, run = tmp_path / "said.parquet", tmp_path / "runs/mini_distill/1to1-blockbeg-calibrated"
    made = (*DISTILL, "data=mixed", f"paths.generated={said}")
    with pytest.raises(
        SystemExit, match=r"said\.parquet .*python -m data\.teacher_generated teacher="
    ):
        train(*made)
    assert not run.exists()
    table = pd.read_parquet(assets / "tokens.parquet").drop(columns="alignment")
    table = table[table["split"] == "train"].assign(utterance=lambda t: "said-" + t["utterance"])
    table.to_parquet(said)
    train(*made)
    description = json.loads((run / "config.json").read_text())
    assert {"teacher_generated", "tokens", "teacher"} == description["input_sha256"].keys()
    assert description["settings"]["data"]["tables"] == ["recordings", "teacher_generated"]
    table.iloc[1:].to_parquet(said)
    with pytest.raises(SystemExit, match=r"input_sha256\.teacher_generated"):
        train(*made)


def test_a_checkpoint_that_is_not_one(train, tmp_path):
    train(*DISTILL)
    folder = tmp_path / "runs/mini_distill/1to1-blockbeg-calibrated"
    (folder / "student/model.json").unlink()
    (folder / "checkpoints/last.ckpt").write_bytes(b"damaged")
    with pytest.raises(SystemExit, match=r"last\.ckpt is not a checkpoint"):
        train(*DISTILL)


def test_the_command_writes_nothing_but_its_run_folder(overrides, tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), *overrides(*DISTILL)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert (tmp_path / "runs/mini_distill/1to1-blockbeg-calibrated/student/model.json").exists()


def test_steps_can_be_given_as_epochs(train, tmp_path):
    out = train(*DISTILL, "steps=null", "epochs=2", "ratio=1to1")
    steps = int(out.partition("2 epochs are ")[2].split()[0])
    metrics = pd.read_csv(tmp_path / "runs/mini_distill/1to1-blockbeg-calibrated/metrics.csv")
    assert steps > 2 and metrics["step"].max() == steps


def test_the_papers_recipe_reads_what_the_paper_says():
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        explore, final = (
            compose("train", overrides=[f"experiment=cosyvoice2_{name}"])
            for name in ("explore", "final")
        )
    assert (explore.epochs, final.epochs) == (15, 50) and explore.batch.max_tokens == 40_000
    assert (explore.optimizer.recipe, explore.optimizer.lr) == ("adam_constant", 1e-5)
    assert explore.trainer.global_tokens == 4 * 40_000 and explore.trainer.devices == 4
    assert explore.init == "paper" and explore.batch.bistream_probability == 0.5
    assert final.paths.teacher == "models/CosyVoice2-0.5B/llm.pt" and final.text == "qwen"


def test_a_missing_cosyvoice_folder_is_named(train, assets):
    with pytest.raises(SystemExit, match=r"nowhere/llm\.pt does not exist"):
        tokens = f"paths.tokens={assets}/tokens.parquet"
        train("experiment=cosyvoice2_explore", "trainer=cpu", "paths.cosyvoice2=nowhere", tokens)


def test_jobs_of_launchers_find_the_checkout(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    share_checkout()
    share_checkout()  # once is enough
    assert os.environ["PYTHONPATH"] == os.pathsep.join([str(ROOT), "/elsewhere"])
    command = [
        sys.executable,
        "-S",
        "-c",
        "import importlib.util as u; u.find_spec('tasks').origin",
    ]
    assert subprocess.run(command, cwd=tmp_path).returncode == 0
