"""The listeners' files: read, checked against the key, and who of them listened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eval.listening.questions import ALLOWED_TO_FAIL, VALID
from eval.store.files import InputError, read_json


@dataclass(frozen=True)
class Listener:
    """One listener and their checks."""

    name: str
    checks: int
    failed: int

    @property
    def excluded(self) -> bool:
        """More than a quarter of the checks went wrong."""
        return self.failed > ALLOWED_TO_FAIL * self.checks


@dataclass(frozen=True)
class Answers:
    """What was answered to the questions about systems, excluded listeners' answers too.

    `frame` has a row per answer: listener, position (in the listener's order), system, utterance, value (a
    rating of 1 to 5; pairs: 1 where the system is preferred to the baseline, 0.5 without a difference, 0),
    excluded.
    """

    kind: str
    baseline: str | None
    listeners: tuple[Listener, ...]
    frame: pd.DataFrame


def read_answers(folder: Path, key: Path) -> Answers:
    """Every listener's .json file in `folder`.

    Raises:
        InputError: no key, no files, or a file of another test, twice the same listener, an answer that is
            wrong or missing, or nobody whose checks went well.
    """
    description = read_json(key)
    if not isinstance(description, dict) or not {"test", "kind", "questions"} <= description.keys():
        raise InputError(f"{key} is not the key of a listening test")
    paths = sorted(path for path in folder.glob("*.json") if path.name != key.name)
    if not paths:
        raise InputError(f"{folder} holds no listener's .json files")
    questions = {question["key"]: question for question in description["questions"]}
    contents = {path: _checked(path, description, questions) for path in paths}
    seen: dict[str, Path] = {}
    for path, content in contents.items():
        name = content["listener"].casefold()
        if name in seen:
            raise InputError(
                f"{seen[name]} and {path} are both of {content['listener']}: keep one of them"
            )
        seen[name] = path
    listeners = tuple(_listener(content, questions) for content in contents.values())
    if all(listener.excluded for listener in listeners):
        raise InputError(
            f"all {len(listeners)} listeners in {folder} failed more than {ALLOWED_TO_FAIL:.0%} of their "
            "checks: there is nothing to average"
        )
    rows = [
        row
        for content, listener in zip(contents.values(), listeners, strict=True)
        for row in _rows(content, questions, description, listener)
    ]
    return Answers(description["kind"], description["baseline"], listeners, pd.DataFrame(rows))


def _checked(
    path: Path, description: Mapping[str, Any], questions: Mapping[str, Any]
) -> dict[str, Any]:
    """A listener's file: its test is this one, its order and answers hold every question."""
    content = read_json(path)
    if (
        not isinstance(content, dict)
        or not {"test", "listener", "order", "answers"} <= content.keys()
        or not isinstance(content["listener"], str)
        or not isinstance(content["order"], list)
        or not all(isinstance(name, str) for name in content["order"])
        or not isinstance(content["answers"], dict)
    ):
        raise InputError(f"{path} is no listener's file")
    if content["test"] != description["test"]:
        raise InputError(f"{path} is not an answer to this test ({description['test']})")
    answers = content["answers"]
    if set(answers) != set(questions):
        missing = len(set(questions) - set(answers))
        raise InputError(f"{path}: {missing} of {len(questions)} questions have no answer")
    if sorted(content["order"]) != sorted(questions):
        raise InputError(f"{path}: its order is not one of these questions")
    for name, value in answers.items():
        if value not in VALID[description["kind"]]:
            raise InputError(f"{path}: {value!r} is no answer to question {name}")
    return content


def _listener(content: Mapping[str, Any], questions: Mapping[str, Any]) -> Listener:
    checks = [question for question in questions.values() if question["check"]]
    failed = [q for q in checks if content["answers"][q["key"]] not in q["expected"]]
    return Listener(content["listener"], len(checks), len(failed))


def _rows(
    content: Mapping[str, Any],
    questions: Mapping[str, Any],
    description: Mapping[str, Any],
    listener: Listener,
) -> list[dict[str, Any]]:
    rows = []
    for position, name in enumerate(content["order"], start=1):
        question, value = questions[name], float(content["answers"][name])
        if question["check"]:
            continue
        system = question["systems"][0]
        if description["kind"] == "pairs":
            # -1 is for the first clip. A win counts 1, no difference a half.
            first_wins = (1 - value) / 2
            is_first = system != description["baseline"]
            system = question["systems"][0 if is_first else 1]
            value = first_wins if is_first else 1 - first_wins
        rows.append(
            {
                "listener": listener.name,
                "position": position,
                "system": system,
                "utterance": question["utterance"],
                "value": value,
                "excluded": listener.excluded,
            }
        )
    return rows
