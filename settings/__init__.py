"""Configuration stops here: a composed configuration becomes one typed dataclass, once.

    s = typed_settings(EvaluateSettings, config)

The dataclasses say which keys there are and of which type; every value is in configs/, so their fields have
no defaults. Fields are what YAML can hold (int, float, str, bool, None, lists, tuples, mappings), `Path`,
`Literal` and other dataclasses, which may check themselves in `__post_init__`.
"""

import json
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, ValidationError, create_model

T = TypeVar("T")

# Strict: "3" is no number and true is no 1.
STRICT = ConfigDict(extra="forbid", strict=True)


class SettingsError(ValueError):
    """A setting is unknown, missing or of another type; the message names all such keys."""


def plain_settings(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain containers, interpolations resolved: for hashes and records, not for reading.

    Raises SettingsError for an interpolation that fails and for a key that has to be given (`???`).
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise SettingsError(str(error).splitlines()[0]) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def typed_settings(kind: type[T], config: DictConfig) -> T:
    """`config` as an object of the dataclass `kind`. Raises SettingsError."""
    return typed(kind, plain_settings(config))


def typed(kind: type[T], plain: dict[str, Any]) -> T:
    """Plain containers as an object of the dataclass `kind`, nested ones too. Raises SettingsError."""
    # Nested dataclasses take over the strictness of the model around them, one that stands alone has none.
    door = create_model("Door", __config__=STRICT, root=(kind, ...))
    try:
        # By way of JSON, where a list may be a tuple and a string a Path, as in YAML.
        return door.model_validate_json(json.dumps({"root": plain})).root  # type: ignore[attr-defined]
    except ValidationError as errors:
        lines = dict.fromkeys(_line(kind, dict(error)) for error in errors.errors())
        raise SettingsError("; ".join(lines)) from errors


def _line(kind: type, error: dict[str, Any]) -> str:
    """One validation error in the words of the command line."""
    if error["type"] == "value_error":  # of a `__post_init__`, which names its field itself
        return str(error["ctx"]["error"])
    if len(error["loc"]) < 2:  # not a key's fault, such as text that is no Unicode
        return str(error["msg"])
    *groups, last = (str(part) for part in error["loc"][1:])
    key = ".".join([*groups, last])
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        valid = _fields_of(kind, groups)
        return f"unknown setting {key}" + (f" (valid: {', '.join(valid)})" if valid else "")
    if error["type"] == "missing":
        return f"missing setting {key}"
    line = f"{key}={error['input']}: {error['msg'].replace('Input ', '')}"
    if error["type"] in ("string_type", "path_type") and isinstance(error["input"], int | float):
        return f"{line}; as text: \"{key}='{error['input']}'\""
    return line


def _fields_of(kind: Any, groups: list[str]) -> list[str]:
    """Field names of the dataclass that lies below `kind`, [] where there is none."""
    for group in groups:
        hints = get_type_hints(kind) if is_dataclass(kind) else {}
        options = (hints.get(group), *get_args(hints.get(group)))
        kind = next((option for option in options if is_dataclass(option)), None)
    return [field.name for field in fields(kind)] if is_dataclass(kind) else []
