"""Finished evaluations on disk: every system that evaluate.py has scored, whoever made its speech."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.store.files import InputError, read_json, read_jsonl

Row = dict[str, Any]


@dataclass(frozen=True)
class Evaluated:
    """One system of one evaluation, with its seed index."""

    name: str
    seed: int
    folder: Path
    card: Mapping[str, Any]
    protocol: Mapping[str, Any]
    test_set: str  # sha256 of the list
    rows: tuple[Row, ...]

    @property
    def wavs(self) -> Path:
        """Where its speech lies."""
        return Path(self.card["source"]) if self.card["kind"] == "wavs" else self.folder / "wavs"

    @property
    def rules(self) -> tuple[str, str, int]:
        """Systems of equal rules may be ranked: test set, protocol, number of utterances."""
        return self.test_set, str(self.protocol["sha256"]), len(self.rows)

    @property
    def utterances(self) -> list[str]:
        """Names of the expected utterances, in list order."""
        return [row["utterance"] for row in self.rows]


def find_evaluations(results: Path) -> list[Evaluated]:
    """Every scored system below `results`, by name and seed.

    Raises:
        InputError: nothing there, an incomplete evaluation, or two of one name, seed, test set and protocol.
    """
    found: dict[tuple, Evaluated] = {}
    for path in sorted(results.rglob("scores.jsonl")):
        one = _read(path)
        key = (one.name, one.seed, *one.rules)
        if key in found:
            raise InputError(
                f"{found[key].folder} and {one.folder} are both called {one.name!r} with seed "
                f"{one.seed}: name one of them otherwise (models={{name: folder}} or name=)"
            )
        found[key] = one
    if not found:
        raise InputError(f"{results} holds no scores: run evaluate.py with out= below it first")
    return [found[key] for key in sorted(found)]


def read_card(folder: Path) -> dict[str, Any]:
    """What is known of a scored system: its card, with its cross-entropy where that was measured.

    Raises InputError for a missing or damaged card.
    """
    card, ce = _whole(folder / "system.json"), read_json(folder / "ce.json")
    if isinstance(ce, dict) and ce.get("nats_per_token") is not None:
        card |= {"ce": ce["nats_per_token"], "ce_shuffled": ce["shuffled_nats_per_token"]}
    return card


def read_rules(folder: Path) -> dict[str, Any]:
    """What a system was scored with: protocol, test_set, seed_index.

    Raises InputError when that is missing or damaged.
    """
    return _whole(folder / "scored.json")


def _read(path: Path) -> Evaluated:
    folder = path.parent
    card, scored = read_card(folder), read_rules(folder)
    return Evaluated(
        name=folder.name,
        seed=scored["seed_index"],
        folder=folder,
        card=card,
        protocol=scored["protocol"],
        test_set=scored["test_set"],
        rows=tuple(read_jsonl(path)),
    )


def _whole(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} is missing or damaged: score that system again with evaluate.py")
    return content


def check_comparable(systems: Iterable[Evaluated]) -> None:
    """Raise InputError, naming the first that differs, unless all have one test set and one protocol."""
    first, *others = systems
    for other in others:
        if other.test_set != first.test_set or other.utterances != first.utterances:
            raise InputError(
                f"{first.folder} and {other.folder} were scored on different test sets "
                f"({len(first.rows)} and {len(other.rows)} utterances): they cannot be compared"
            )
        if other.protocol["sha256"] != first.protocol["sha256"]:
            ours, theirs = first.protocol, other.protocol
            differing = [k for k in ours if k != "sha256" and ours[k] != theirs.get(k)]
            changes = "; ".join(f"{k}: {ours[k]} and {theirs.get(k)}" for k in differing)
            raise InputError(
                f"{first.folder} and {other.folder} were scored by different protocols ({changes}): "
                "score them with the same options; transcripts are cached"
            )
