"""Command lines of evaluate.py: which keys a stage has, what they mean, and values taken as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from eval.stages import STAGES
from eval.store.files import InputError
from eval.store.manifest import REPOSITORY

CONFIGS = REPOSITORY / "configs"
# Free text, names and paths: taken as they are, whatever characters they have.
LITERAL = (
    *(
        "text",
        "prompt",
        "prompt_text",
        "name",
        "title",
        "baseline",
        "model",
        "wavs",
        "out",
        "cache",
    ),
    *("results", "ratings", "key", "asr", "speaker", "mos", "floor", "ceiling"),
    *("testset.meta", "testset.tokens", "system.codec"),
)
# Of these, what is whole in [] or {} is a list or {name: folder} in YAML.
LISTS = ("wavs", "asr", "models", "systems")
LIST = re.compile(r"\[.*\]|\{.*\}", re.DOTALL)
READ_BY_HYDRA = re.compile(r"""null|'.*'|".*"|""", re.DOTALL)
Value = str | list[str] | dict[str, str]


def split_literals(arguments: Sequence[str]) -> tuple[list[str], dict[str, Value]]:
    """(what Hydra reads, text and lists of text by key). Hydra would break at commas, quotes and brackets.

    Raises InputError for a list that is none, or has a name twice.
    """
    kept: list[str] = []
    literal: dict[str, Value] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in LISTS and LIST.fullmatch(value):
            literal[name] = _list_of(name, value)
        elif equals and name in LITERAL and not READ_BY_HYDRA.fullmatch(value):
            literal[name] = value
        else:
            kept.append(argument)
    return kept, literal


def put_literals(config: DictConfig, literal: Mapping[str, Value]) -> None:
    """Set text in a composed configuration; `${` is text there too."""

    def plain(text: str) -> str:
        return text.replace("${", r"\${")

    for name, value in literal.items():
        if isinstance(value, dict):
            config[name] = {key: plain(text) for key, text in value.items()}
        elif isinstance(value, list):
            config[name] = [plain(text) for text in value]
        else:
            OmegaConf.update(config, name, plain(value))


def _list_of(name: str, value: str) -> list[str] | dict[str, str]:
    """The texts of a list or mapping, which YAML would take for numbers and dates, too."""
    how = f'{name}=[a, b] or {name}={{name: a}}, with "" around what has brackets, commas, quotes or #'
    try:
        node = yaml.compose(value, Loader=yaml.BaseLoader)
        found = yaml.load(value, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        reason = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise InputError(f"{name}={value}: {reason}; write {how}") from error
    texts = list(found.values()) if isinstance(found, dict) else found
    if not all(isinstance(text, str) and text for text in texts):
        raise InputError(f"{name}={value}: an entry is empty or a list itself; write {how}")
    if len(node.value) > len(found):
        raise InputError(f"{name}={value}: a name is there twice")
    return found


def parts_of(stage: str) -> dict[str, str]:
    """The files that a stage's keys stand in: name -> text, its own first.

    Raises InputError, naming the valid ones, for another stage.
    """
    if stage not in STAGES:
        raise InputError(f"unknown stage {stage!r}; valid: {', '.join(STAGES)}")
    texts = {stage: _text(CONFIGS / "stage" / f"{stage}.yaml")}
    for part in yaml.safe_load(texts[stage]).get("defaults", ()):
        if isinstance(part, str) and part != "_self_":
            texts[part] = _text(CONFIGS / "stage" / f"{part}.yaml")
    return texts


def groups_of(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """The configuration groups that a stage chooses from, with their options."""
    names = re.findall(r"^  - /(\w+):", "\n".join(texts.values()), re.MULTILINE)
    return {name: sorted(path.stem for path in (CONFIGS / name).glob("*.yaml")) for name in names}


def help_of(stage: str) -> str:
    """The keys of a stage with their comments, as they stand in configs/stage."""
    texts = parts_of(stage)
    groups = [f"{name}: {', '.join(options)}" for name, options in groups_of(texts).items()]
    hidden = re.compile(r"^(# @package.*|defaults:.*|  - .*|stage: .*)\n", re.MULTILINE)
    keys = [hidden.sub("", text) for text in texts.values()]
    return "\n".join([f"python evaluate.py stage={stage} [key=value ...]", "", *groups, "", *keys])


def stage_of(arguments: Sequence[str]) -> str:
    """The stage that a command line asks for."""
    return next((a.partition("=")[2] for a in arguments if a.startswith("stage=")), "all")


def check_keys(arguments: Sequence[str]) -> None:
    """Raise InputError for a key that the stage does not have, with those that it has."""
    texts = parts_of(stage_of(arguments))
    keys = {key for text in texts.values() for key in yaml.safe_load(text)} - {"defaults"}
    known = sorted({*keys, *groups_of(texts), "paths", "threads"})
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        # Hydra's own keys, and those with a sign in front, are its affair.
        if equals and re.fullmatch(r"[\w.]+", name) and name.split(".")[0] not in (*known, "hydra"):
            raise InputError(
                f"stage={stage_of(arguments)} has no key {name}; it has: {', '.join(known)}"
            )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
