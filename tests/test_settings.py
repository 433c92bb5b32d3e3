"""The door between configuration and code: what is unknown, missing or of another type is named."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from settings import SettingsError, typed_settings


@dataclass(frozen=True)
class Batch:
    max_tokens: int
    betas: tuple[float, float]

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"batch.max_tokens must be at least 1, not {self.max_tokens}")


@dataclass(frozen=True)
class Settings:
    run: Path
    name: str
    steps: int | None
    lr: float
    audio: bool
    stage: Literal["all", "report"]
    batch: Batch
    guide: Batch | None
    layers: tuple[int, ...]
    models: dict[str, Path]
    sampling: dict[str, Any]

    def __post_init__(self) -> None:
        if self.stage == "report" and self.audio:
            raise ValueError("stage=report has no audio")


GOOD = {
    "run": "runs/${name}",
    "name": "x",
    "steps": 3,
    "lr": 1,
    "audio": True,
    "stage": "all",
    "batch": {"max_tokens": 5, "betas": [0.9, 1]},
    "guide": None,
    "layers": [1, 2],
    "models": {"a": "b"},
    "sampling": {"top_p": 0.5},
}


def settings(**changes: Any) -> Settings:
    return typed_settings(Settings, OmegaConf.create({**GOOD, **changes}))


def test_values_have_the_types_of_their_fields():
    batch = Batch(5, (0.9, 1.0))
    expected = Settings(
        *(Path("runs/x"), "x", 3, 1.0, True, "all", batch, None, (1, 2)),
        *({"a": Path("b")}, {"top_p": 0.5}),
    )
    assert settings() == expected
    assert isinstance(settings().lr, float) and isinstance(settings().batch.betas, tuple)
    assert settings(guide={"max_tokens": 1, "betas": [0, 0]}).guide == Batch(1, (0.0, 0.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stpes": 3}, r"unknown setting stpes \(valid: run, name, steps,"),
        ({"batch": {**GOOD["batch"], "size": 1}}, r"unknown setting batch\.size \(valid: max_tok"),
        ({"guide": {**GOOD["batch"], "size": 1}}, r"unknown setting guide\.size \(valid: max_tok"),
        ({"batch": {"betas": [0, 0]}}, r"missing setting batch\.max_tokens"),
        ({"steps": "many"}, "steps=many: should be a valid integer"),
        ({"steps": "3"}, "steps=3: should be a valid integer"),
        ({"steps": True}, "steps=True: should be a valid integer"),
        ({"steps": 2.5}, r"steps=2\.5: should be a valid integer"),
        ({"name": 7}, "name=7: should be a valid string; as text: \"name='7'\""),
        ({"run": 7}, "run=7: .*; as text: \"run='7'\""),
        ({"stage": "report"}, "^stage=report has no audio$"),
        ({"audio": 1}, "audio=1: should be a valid boolean"),
        ({"stage": "al"}, "stage=al: should be 'all' or 'report'"),
        ({"batch": {"max_tokens": 0, "betas": [0, 0]}}, r"^batch\.max_tokens must be at least 1"),
        ({"batch": {"max_tokens": 1, "betas": [0]}}, r"missing setting batch\.betas\.1"),
        ({"models": ["a"]}, r"models=\['a'\]: should be"),
        ({"batch": None}, "batch=None"),
    ],
)
def test_what_is_wrong_is_named(changes, message):
    with pytest.raises(SettingsError, match=message):
        settings(**changes)


def test_everything_wrong_is_said_at_once():
    with pytest.raises(SettingsError, match=r"steps=x: .*; lr=y: .*; unknown setting z"):
        settings(steps="x", lr="y", z=1)


def test_a_key_that_has_to_be_given_and_one_that_cannot_be_resolved():
    for value, message in (("???", "name"), ("${nowhere}", "nowhere")):
        with pytest.raises(SettingsError, match=message):
            typed_settings(Settings, OmegaConf.create({**GOOD, "name": value}))
