"""stage=advise: known bytes, the three answers, and settings that mean nothing."""

import io
from dataclasses import replace

import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from eval.efficiency.advise import advice, advise, needs, positions
from eval.efficiency.memory import counted
from eval.efficiency.settings import Advise
from eval.store.files import InputError
from eval.store.manifest import REPOSITORY
from mamtra.lm.checkpoint import CheckpointError, load_lm
from settings import SettingsError, typed_settings

TEACHER = "assets/mini/teacher"


def settings(*words):
    with initialize_config_dir(str(REPOSITORY / "configs"), version_base="1.3"):
        return typed_settings(Advise, compose("evaluate", overrides=["stage=advise", *words]))


def test_counted_bytes_are_those_of_a_loaded_model():
    for dtype in ("fp32", "bf16"):
        lm, found = load_lm(TEACHER, "cpu", dtype), counted(TEACHER, "1to0", dtype)
        assert found.weight_bytes == sum(p.nbytes for p in lm.parameters())
        assert found.state_bytes(3, 50, 20) == lm.new_state(3, 50).num_bytes()


def test_the_length_of_ten_seconds_is_the_one_that_was_published():
    """WAND's 10.48 MB (arXiv 2604.08558) at 24 layers of 1,024 bytes in fp32 are 426 positions."""
    assert positions(settings("seconds=10")) == (426, 176)


def test_the_bytes_behind_the_answer():
    s = settings("seconds=10", "streams=2", "plans=[1to11]")
    teacher, hybrid = needs(s)
    length, rotary = 426, 426 * 64 * 4
    cache = 2 * length * 2 * 64 * 2  # keys and values of a layer in bf16
    assert teacher.state_bytes == 2 * (24 * cache + 8) + rotary
    state = 14 * 64 * 64 * 4 + 3 * 1152 * 2
    assert hybrid.state_bytes == 2 * (2 * cache + 22 * state + 8) + rotary
    assert hybrid.weight_bytes > teacher.weight_bytes
    shared = needs(replace(s, state="shared"))[1]
    assert hybrid.state_bytes - shared.state_bytes == 2 * 22 * 12 * 64 * 64 * 4


def test_the_teacher_stays_where_it_fits():
    s = settings("gpu_gb=24", "other_gb=14", "streams=8", "seconds=60")
    assert advice(needs(s), s).startswith(
        "Stay with the teacher: 8 streams of 60 s in 10.00 GB need"
    )


def test_the_first_plan_that_fits_is_the_answer_and_its_limit_is_exact():
    s = settings("seconds=300", "streams=32", "gpu_gb=16", "other_gb=13", "plans=[1to1,1to11]")
    found = needs(s)
    assert [need.fits for need in found] == [False, True, True]
    assert advice(found, s).startswith("1to1: 32 streams of 300 s in 3.00 GB need")
    for need in found:
        at_limit, beyond = (
            next(n for n in needs(replace(s, streams=k)) if n.plan == need.plan)
            for k in (need.streams, need.streams + 1)
        )
        assert at_limit.total_bytes <= 3e9 < beyond.total_bytes


def test_where_nothing_fits_the_most_is_said():
    s = settings("seconds=300", "streams=64", "gpu_gb=3", "other_gb=1.5", "plans=[1to1,1to11]")
    found = needs(s)
    most = found[-1].streams
    assert 0 < most < 64
    assert f"The most is {most} streams, with 1to11." in advice(found, s)


def test_the_command_prints_the_table_and_the_answer():
    out = io.StringIO()
    assert advise(settings(), Console(file=out, width=100)) == 0
    text = " ".join(out.getvalue().split())
    assert "1to11" in text and "most streams" in text and "Stay with the teacher" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["other_gb=24"], "gpu_gb=24 other_gb=24"),
        (["streams=0"], "streams=0"),
        (["seconds=0"], "seconds=0"),
        (["seconds=.inf"], "seconds=.inf"),
        (["plans=[]"], "plans="),
        (["text_per_s=0"], "text_per_s=0"),
        (["dtype=int4"], "dtype=int4"),
        (["state=all"], "state=all"),
    ],
)
def test_settings_without_meaning_are_named(words, message):
    with pytest.raises(SettingsError, match=message):
        settings(*words)


def test_plans_and_models_that_are_none_are_named(tmp_path):
    with pytest.raises(InputError, match=r"plans=\['1to9'\].*unknown ratio"):
        advise(settings("plans=[1to9]"), Console(file=io.StringIO()))
    with pytest.raises(CheckpointError, match="not a model folder"):
        advise(settings(f"like={tmp_path}"), Console(file=io.StringIO()))
