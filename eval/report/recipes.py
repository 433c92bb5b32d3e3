"""What a reader is told of the recipes that values were made by, and which values may stand in one column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from eval.metrics.text.profiles import PROFILES, Profile
from eval.store.evaluations import Evaluated
from eval.store.files import InputError, sha256_json

Recipe = Mapping[str, Any]
_SHOWN = {"wer": "WER", "sim": "SIM", "mos": "MOS", "lufs": "LUFS", "sim_recording": "SIM rec."}


def profile_of(one: Evaluated) -> Profile:
    """The rules for texts that a system's WER was counted by.

    Raises:
        InputError: the recipe names none, or one that this program does not have.
    """
    rules = one.recipes.get("wer", {}).get("profile")
    name = rules.get("name") if isinstance(rules, Mapping) else None
    if name not in PROFILES:
        raise InputError(
            f"{one.folder}: its WER was counted by profile {name!r}, which this program does not have "
            f"(it has {', '.join(PROFILES)}): score it again"
        )
    return PROFILES[name]


def tool_of(recipe: Recipe) -> str:
    """ "faster-whisper tiny.en": the tool of a recipe, or of its recogniser, with its model."""
    inner = recipe.get("recogniser", recipe)
    names = (inner.get(key) for key in ("tool", "model", "source"))
    return " ".join(str(name) for name in names if name)


def distinct_recipes(systems: Iterable[Evaluated], metric: str) -> dict[str, str]:
    """Hash -> a name of each recipe of a metric among the systems; names of one tool carry their hash."""
    found = {
        sha256_json(one.recipes[metric]): one.recipes[metric]
        for one in systems
        if metric in one.recipes
    }
    names = {sha256: tool_of(recipe) or sha256[:6] for sha256, recipe in found.items()}
    twice = [name for name in names.values() if list(names.values()).count(name) > 1]
    return {
        sha256: f"{name} {sha256[:6]}" if name in twice else name for sha256, name in names.items()
    }


def facts_of(systems: Iterable[Evaluated]) -> dict[str, str]:
    """What the systems of a table were scored with, from the recipes of each of them.

    A metric whose recipes differ, or that only some have, says whose is whose.
    """
    systems = list(systems)
    facts = {
        "profile": _whose(systems, lambda one: profile_of(one).name),
        "language": _whose(systems, lambda one: str(one.recipes["wer"]["language"])),
    }
    for metric in dict.fromkeys(name for one in systems for name in one.recipes):
        if metric.partition(":")[0] != "wer" and not any(
            "tool" in one.recipes.get(metric, {}) for one in systems
        ):
            continue  # made of what WER is made of: its faults, its guarded rate
        names = distinct_recipes(systems, metric)

        def name_of(one: Evaluated, metric: str = metric, names: Mapping[str, str] = names) -> str:
            recipe = one.recipes.get(metric)
            return "none" if recipe is None else names[sha256_json(recipe)]

        facts[_SHOWN.get(metric, metric)] = _whose(systems, name_of)
    return facts


def _whose(systems: list[Evaluated], name_of: Any) -> str:
    by_name: dict[str, list[str]] = {}
    for one in systems:
        by_name.setdefault(name_of(one), []).append(one.name)
    if len(by_name) == 1:
        return next(iter(by_name))
    return "; ".join(f"{name} ({', '.join(whose)})" for name, whose in by_name.items())
