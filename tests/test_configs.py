"""Every training configuration composes and names things that exist."""

import itertools
import math
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from importance import MODES
from lightning_modules.distill import Objective
from lightning_modules.optim import RECIPES
from mamtra.backbone.layer_plan import (
    ATTENTION,
    LETTERS,
    MEASURED,
    PLACEMENTS,
    RATIOS,
    layer_plan,
    plan_letters,
    plan_name,
)
from mamtra.backbone.sizes import BackboneSizes
from mamtra.mvc.arms import ARMS
from mamtra.mvc.model import build
from mamtra.mvc.sizes import MVCSizes
from mamtra.systems import text_name
from mamtra.transfer.student import STUDENT_INITS as INITS
from settings import SettingsError, plain_settings, typed
from settings.training import DataSettings
from tasks import TASKS

CONFIGS = Path(__file__).parents[1] / "configs"
N_LAYERS = 12
DEFAULT_CELL = ("1to1", "blockbeg", "calibrated")


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


DISTILLATIONS = [name for name in options("experiment") if "distill" in name]


@pytest.fixture(scope="module", autouse=True)
def hydra_configs():
    with initialize_config_dir(str(CONFIGS), version_base=None):
        yield


def resolved(*overrides: str) -> dict:
    config = compose("train", overrides=list(overrides))
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("experiment", options("experiment"))
def test_a_value_of_the_name_of_a_group_is_that_groups(experiment):
    """Else `init=<path>` on the command line asks for a configuration of that name, and fails."""
    config = compose("train", overrides=[f"experiment={experiment}"], return_hydra_config=True)
    chosen = {str(name).lstrip("/") for name in config.hydra.runtime.choices}
    groups = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
    values = {str(key) for key, value in config.items() if not OmegaConf.is_config(value)}
    assert not values & groups - chosen


def test_the_groups_offer_exactly_what_the_code_knows():
    assert options("ratio") == sorted(ratio.replace(":", "to") for ratio in RATIOS)
    assert options("init") == sorted(INITS)
    assert options("conditioning") == sorted(ARMS)
    tables = get_args(get_args(get_type_hints(DataSettings)["tables"])[0])
    assert set(tables) <= set(options("data"))


def test_every_mixer_but_attention_is_an_option_and_windows_need_no_init():
    names = [name for name in options("mixer") if not name.startswith("_")]
    cells = [resolved("experiment=mini_cell", f"mixer={name}", "ratio=1to11") for name in names]
    assert {s["mixer"] for s in cells} == LETTERS.keys() - {ATTENTION}
    starts = {s["mixer"]: s["init"] for s in cells}
    assert starts["mamba"] == "layerwise" and starts["window"] == "identity"
    plan = layer_plan(N_LAYERS, "1to11", "back", mixer="window")
    assert plan_letters(plan) == "W" * 11 + "A"
    with pytest.raises(HydraException, match="window"):
        resolved("experiment=mini_cell", "mixer=rnn")


def test_what_has_a_state_is_an_axis_of_every_student():
    for name in ("mini_distill", "mini_cell", "mini_layerwise", "cosyvoice2_explore"):
        plain = resolved(f"experiment={name}")
        assert (plain["state"], plain["state_dtype"]) == ("per_head", "fp32"), name
        shared = resolved(f"experiment={name}", "state=shared", "state_dtype=bf16")
        assert (shared["state"], shared["state_dtype"]) == ("shared", "bf16"), name


def test_the_teacher_continued_has_the_cells_data_steps_and_rate():
    for grid in ("mini_grid", "open_grid"):
        cell, continued = (resolved(f"experiment={n}") for n in (grid, f"{grid}_continued"))
        for key in ("batch", "steps", "optimizer", "trainer", "seed", "paths", "run"):
            assert cell[key] == continued[key], key
        assert continued["cell"]["continued"] and continued["ratio"] == "1to0"
    student, alone = (resolved(f"experiment={n}") for n in ("mini_distill", "mini_continue"))
    for key in ("batch", "steps", "optimizer", "trainer", "seed"):
        assert student[key] == alone[key], key
    assert alone["ratio"] == "1to0"
    assert alone["objective"]["ce"] == 1 and alone["objective"]["logits"] == 0


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_is_what_its_task_reads_no_more_and_no_less(experiment):
    plain = resolved(f"experiment={experiment}")
    settings = typed(TASKS[plain["task"]].settings, plain)
    assert settings.run == Path(plain["run"]) and settings.run.is_relative_to(settings.paths.runs)


@pytest.mark.parametrize("arm", options("conditioning"))
def test_every_arm_composes_in_every_experiment_of_it(arm):
    for experiment in ("mvc_train", "mvc_arm", "mvc_grid"):
        plain = resolved(f"experiment={experiment}", f"conditioning={arm}")
        settings = typed(TASKS[plain["task"]].settings, plain)
        assert settings.conditioning == arm
    assert plain["steps"] > plain["decoder"]["frozen_steps"] > 0


@pytest.mark.parametrize("name", options("sizes"))
def test_every_size_of_mvc_is_one(name):
    plain = resolved("experiment=mvc_train", f"sizes={name}")
    with torch.device("meta"):
        build(MVCSizes(vocab=50, **plain["sizes"]), "mvc")


@pytest.mark.parametrize("mode", options("mode"))
def test_every_mode_of_importance_is_what_it_reads(mode):
    plain = plain_settings(compose("importance", overrides=[f"mode={mode}"]))
    assert typed(MODES[mode].settings, plain).mode == mode


def test_a_setting_with_a_typo_is_named_with_those_that_there_are():
    wrong = ("+batch.max_token=5", "~optimizer.lr", "steps=many", "+bacth=1")
    plain = resolved("experiment=mini_distill", *wrong)
    with pytest.raises(SettingsError) as error:
        typed(TASKS["distill"].settings, plain)
    for part in (
        "unknown setting batch.max_token (valid: max_tokens,",
        "missing setting optimizer.lr",
        "steps=many: should be a valid integer",
        "unknown setting bacth (valid: task, run,",
    ):
        assert part in str(error.value)


def check_cell(experiment: str, ratio: str, placement: str, init: str) -> str:
    """Composes one cell, checks its plan, and returns its run folder."""
    cell = (f"ratio={ratio}", f"placement={placement}", f"init={init}")
    s = resolved(f"experiment={experiment}", *cell)
    scores = range(N_LAYERS) if placement in MEASURED else None
    assert len(layer_plan(N_LAYERS, s["ratio"], s["placement"], scores)) == N_LAYERS
    name = f"{plan_name(s['ratio'], s['placement'])}-{s['init']}"
    assert s["run"] == f"runs/{experiment}/{name}"
    return s["run"]


@pytest.mark.parametrize("ratio", options("ratio"))
def test_every_cell_composes_to_a_plan_and_its_own_folder(ratio):
    cells = itertools.product(PLACEMENTS, options("init"))
    folders = [check_cell("mini_distill", ratio, *cell) for cell in cells]
    assert len(set(folders)) == len(PLACEMENTS) * len(INITS)


@pytest.mark.parametrize("experiment", DISTILLATIONS)
def test_other_distillations_take_every_option_too(experiment):
    # The groups do not depend on each other, so each option once is enough here.
    for cell in itertools.zip_longest(options("ratio"), PLACEMENTS, options("init")):
        check_cell(experiment, *(c or d for c, d in zip(cell, DEFAULT_CELL, strict=True)))


@pytest.mark.parametrize("objective", options("objective"))
def test_every_objective_is_valid(objective):
    aim = resolved("experiment=mini_distill", f"objective={objective}")["objective"]
    assert Objective(**aim) != Objective(**resolved("experiment=mini_distill")["objective"]) or (
        objective == "full"
    )


@pytest.mark.parametrize("data", options("data"))
def test_every_choice_of_data_is_valid(data):
    for experiment in ("mini_distill", "mini_grid", "cosyvoice2_explore"):
        plain = resolved(f"experiment={experiment}", f"data={data}")
        settings = typed(TASKS[plain["task"]].settings, plain).data
        assert (settings.tables == ("recordings",)) == (data in ("recordings", "on_policy"))
        assert bool(settings.on_policy.share) == (data == "on_policy")


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ("[]", "one or more"),
        ("[recordings,recordings]", "each once"),
        ("[wavs]", "teacher_generated"),
    ],
)
def test_data_that_is_none_is_refused(tables, message):
    plain = resolved("experiment=mini_distill", f"data.tables={tables}")
    with pytest.raises(SettingsError, match=message):
        typed(TASKS["distill"].settings, plain)


def test_a_share_that_is_none_is_refused():
    plain = resolved("experiment=mini_distill", "data.on_policy.share=2")
    with pytest.raises(SettingsError, match=r"on_policy\.share must be in"):
        typed(TASKS["distill"].settings, plain)


@pytest.mark.parametrize("optimizer", options("optimizer"))
@pytest.mark.parametrize("trainer", options("trainer"))
def test_every_optimizer_and_trainer_composes(optimizer, trainer):
    for experiment in ("mini_teacher", *DISTILLATIONS):
        s = resolved(f"experiment={experiment}", f"optimizer={optimizer}", f"trainer={trainer}")
        assert s["optimizer"]["recipe"] in RECIPES
        assert s["trainer"]["accelerator"] == ("cpu" if trainer == "cpu" else "gpu")
    BackboneSizes(**resolved("experiment=mini_teacher")["lm"]["sizes"])


@pytest.mark.parametrize("system", ["mini", "open"])
def test_codec_vocoder_and_teacher_of_a_system_have_one_codebook(system):
    codec, vocoder, teacher = (
        resolved(f"experiment={system}_{part}") for part in ("codec", "vocoder", "teacher")
    )
    assert codec["codec"] == vocoder["codec"]
    assert math.prod(codec["codec"]["network"]["levels"]) == teacher["lm"]["speech_vocab"]


def test_paths_move_together():
    s = resolved("experiment=mini_distill", "paths.assets=/a", "paths.runs=/r", "ratio=1to3")
    assert s["paths"]["teacher"] == "/a/teacher" and s["paths"]["tokens"] == "/a/tokens.parquet"
    assert s["run"] == "/r/mini_distill/1to3-blockbeg-calibrated"


def test_one_word_moves_everything_to_the_open_system():
    paths = {"assets": "assets/open", "tokens": "assets/open/tokens.parquet"}
    grid = resolved("experiment=mini_grid", "paths=open", "ratio=1to1")
    assert grid["paths"] | paths == grid["paths"]
    assert grid["cell"]["evaluate"]["paths"] == paths
    assert grid["run"] == "runs/open/grid"
    scored = compose("evaluate", ["stage=all", "paths=open"])
    assert scored.system.codec == "assets/open"
    assert scored.testset.meta == "assets/open/meta.lst"


def test_the_text_of_a_run_is_the_codecs_unless_it_is_named(tmp_path):
    (tmp_path / "codec.json").write_text('{"text": "phonemes"}')
    assert text_name(None, tmp_path) == "phonemes"
    assert text_name("characters", tmp_path) == "characters"
    with pytest.raises(ValueError, match=r"text is not set, and .* has no codec"):
        text_name(None, tmp_path / "none")


@pytest.mark.parametrize(
    ("override", "listed"),
    [("ratio=9to9", "1to11"), ("init=magic", "calibrated")],
)
def test_an_unknown_cell_lists_the_valid_ones(override, listed):
    with pytest.raises(HydraException, match=listed):
        resolved("experiment=mini_distill", override)
    plain = resolved("experiment=mini_distill", "placement=top")
    with pytest.raises(SettingsError, match="placement=top: valid are blockbeg"):
        typed(TASKS["distill"].settings, plain)


@pytest.mark.parametrize(("launcher", "gpus"), [("slurm", 4), ("slurm_cpu", None)])
def test_a_cell_on_slurm_has_a_task_for_each_device(launcher, gpus):
    devices = ("trainer.devices=4", "trainer.nodes=2", f"hydra/launcher={launcher}")
    overrides = ["experiment=cosyvoice2_explore", *devices]
    config = compose("train", overrides=overrides, return_hydra_config=True)
    job = config.hydra.launcher
    assert (job.nodes, job.tasks_per_node, job.gpus_per_node) == (2, 4, gpus)
    assert job.additional_parameters.requeue is True and "SlurmLauncher" in job._target_


def test_an_unknown_arm_lists_those_that_there_are():
    with pytest.raises(HydraException, match="bilstm"):
        resolved("experiment=mvc_train", "conditioning=rnn")
