"""The store of one evaluation: `<out>/evaluation.sqlite`, rows beside the recipes that made them.

    recipe         everything that a value depends on besides its audio and text, by the hash of its content
    run            a command that wrote rows: stage, arguments, code, packages, machine
    system         what the tables say of a system that was made by a recipe
    speech         one row per wav that a system was asked for: its recipe, its inputs, its hash
    score          one row per scored utterance: the recipe of its speech and of each of its metrics
    cross_entropy  of a model on held-out tokens, by the model's hash

A row and its recipes are written in one transaction: nothing that reads the store can see one without the
other, whatever was killed when. Several processes may write (shards); SQLite queues them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.store.files import InputError, make_folder, sha256_json

FILE = "evaluation.sqlite"
VERSION = 1  # of the tables below; another one is refused
BUSY_S = 60.0  # how long a process waits for another's transaction
OLD_FILES = ("scores.jsonl", "synth.jsonl", "scored.json")
SCHEMA = """
CREATE TABLE recipe (sha256 TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE run (id INTEGER PRIMARY KEY, started TEXT NOT NULL, content TEXT NOT NULL);
CREATE TABLE system (name TEXT, recipe TEXT, card TEXT NOT NULL, PRIMARY KEY (name, recipe));
CREATE TABLE speech (
    system TEXT, utterance TEXT, recipe TEXT NOT NULL, run INTEGER, content TEXT NOT NULL,
    PRIMARY KEY (system, utterance));
CREATE TABLE score (
    system TEXT, utterance TEXT, position INTEGER NOT NULL, expected INTEGER NOT NULL,
    test_set TEXT NOT NULL, seed INTEGER NOT NULL, speech_recipe TEXT NOT NULL,
    metric_recipes TEXT NOT NULL, run INTEGER, content TEXT NOT NULL,
    PRIMARY KEY (system, utterance));
CREATE TABLE cross_entropy (model TEXT PRIMARY KEY, recipe TEXT NOT NULL, content TEXT NOT NULL);
"""
Row = dict[str, Any]


@dataclass(frozen=True)
class StoredScore:
    """One scored utterance as it lies in the store; recipes by their hash."""

    row: Row
    expected: int  # utterances that its system was asked for
    test_set: str  # sha256 of the list
    seed: int
    speech_recipe: str
    metric_recipes: Mapping[str, str]


class Store:
    """The store in the folder of an evaluation.

    Raises:
        InputError: a store of another version, a damaged one, or results of before there was a store.
    """

    def __init__(self, folder: Path, create: bool = True) -> None:
        """With `create`, an empty store is made where there is none; without, that is an InputError."""
        self.folder, self.path = folder, folder / FILE
        self._run: int | None = None
        if not self.path.is_file():
            _refuse_old(folder)
            if not create:
                raise InputError(f"{folder} holds no evaluation ({FILE} is missing)")
            make_folder(folder)
        try:
            self._database = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
            self._prepare()
        except sqlite3.OperationalError as error:  # locked, read-only, a full disk
            raise InputError(f"{self.path}: {error}; try again") from error
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{self.path}: not a store of evaluations ({error}); move it away and score again "
                "(transcripts are cached)"
            ) from error

    def _prepare(self) -> None:
        with self.transaction():
            [version] = self._database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in SCHEMA.strip().split(";\n"):
                    self._database.execute(statement.rstrip(";"))
                self._database.execute(f"PRAGMA user_version = {VERSION}")
            elif version != VERSION:
                raise InputError(
                    f"{self.path} is of version {version}, this program reads {VERSION}: use the "
                    "program that wrote it, or score into another out= (transcripts are cached)"
                )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is written together or not at all."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            # On a full disk SQLite has rolled back by itself, and an error about that would hide the reason.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._database.close()

    # Provenance

    def begin_run(self, content: Mapping[str, Any], started: str) -> None:
        """Note the command that the rows written from now on come from."""
        cursor = self._database.execute(
            "INSERT INTO run (started, content) VALUES (?, ?)", (started, _text(content))
        )
        self._run = cursor.lastrowid

    def runs_of_scores(self) -> list[Row]:
        """The commands that the present scores come from, oldest first."""
        found = self._database.execute(
            "SELECT started, content FROM run WHERE id IN (SELECT run FROM score) ORDER BY id"
        )
        return [{"started": started, **json.loads(content)} for started, content in found]

    def recipe(self, sha256: str) -> Row:
        """The content of a recipe."""
        found = self._database.execute("SELECT content FROM recipe WHERE sha256 = ?", (sha256,))
        row = found.fetchone()
        if row is None:
            raise InputError(f"{self.path}: recipe {sha256[:12]} is missing: the store is damaged")
        return json.loads(row[0])

    def _remember(self, content: Mapping[str, Any]) -> str:
        sha256 = sha256_json(content)
        self._database.execute(
            "INSERT OR IGNORE INTO recipe VALUES (?, ?)", (sha256, _text(content))
        )
        return sha256

    # Speech

    def put_system(self, name: str, recipe: Mapping[str, Any], card: Mapping[str, Any]) -> None:
        """What the tables say of the system `name` where `recipe` made its speech."""
        with self.transaction():
            values = (name, self._remember(recipe), _text(card))
            self._database.execute("INSERT OR REPLACE INTO system VALUES (?, ?, ?)", values)

    def put_speech(self, system: str, recipe: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """Rows of the synthesis stage (`eval.synthesis.synthesize`), all made by one recipe."""
        with self.transaction():
            sha256 = self._remember(recipe)
            self._database.executemany(
                "INSERT OR REPLACE INTO speech VALUES (?, ?, ?, ?, ?)",
                [(system, row["utterance"], sha256, self._run, _text(row)) for row in rows],
            )

    def speech(self, system: str) -> dict[str, tuple[str, Row]]:
        """utterance -> (hash of its recipe, row)."""
        found = self._database.execute(
            "SELECT utterance, recipe, content FROM speech WHERE system = ?", (system,)
        )
        return {name: (recipe, json.loads(content)) for name, recipe, content in found}

    # Scores

    def put_scores(
        self,
        system: str,
        rows: Sequence[tuple[int, Row]],
        *,
        utterances: Sequence[str],
        test_set: str,
        seed: int,
        speech_recipe: Mapping[str, Any],
        metric_recipes: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Rows with their positions in the list of `utterances` that are asked for, and what made them.

        Rows of other utterances, of another list or seed go: they would be counted otherwise.
        """
        with self.transaction():
            speech = self._remember(speech_recipe)
            metrics = {name: self._remember(one) for name, one in metric_recipes.items()}
            expected = len(utterances)
            same = (expected, test_set, seed, speech, _text(metrics), self._run)
            self._database.execute(
                "DELETE FROM score WHERE system = ? AND (test_set != ? OR seed != ? OR expected != ? "
                "OR utterance NOT IN (SELECT value FROM json_each(?)))",
                (system, test_set, seed, expected, _text(list(utterances))),
            )
            self._database.executemany(
                "INSERT OR REPLACE INTO score VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(system, row["utterance"], place, *same, _text(row)) for place, row in rows],
            )

    def scores(self, system: str) -> list[StoredScore]:
        """The scored utterances of a system in list order."""
        found = self._database.execute(
            "SELECT content, expected, test_set, seed, speech_recipe, metric_recipes FROM score "
            "WHERE system = ? ORDER BY position",
            (system,),
        )
        return [
            StoredScore(json.loads(content), expected, test_set, seed, speech, json.loads(metrics))
            for content, expected, test_set, seed, speech, metrics in found
        ]

    def scored_systems(self) -> list[str]:
        """Names of the systems that have scores, in the order in which they were first scored."""
        found = self._database.execute(
            "SELECT system FROM score GROUP BY system ORDER BY MIN(rowid)"
        )
        return [name for (name,) in found]

    def card(self, system: str, recipe: str) -> Row:
        """What the tables say of a system whose speech was made by the recipe of that hash."""
        found = self._database.execute(
            "SELECT card FROM system WHERE name = ? AND recipe = ?", (system, recipe)
        ).fetchone()
        if found is None:
            raise InputError(f"{self.path}: no card of {system!r}: score it again with evaluate.py")
        return json.loads(found[0])

    # Cross-entropy

    def put_cross_entropy(self, model: str, recipe: Mapping[str, Any], content: Row) -> None:
        """The cross-entropy of the model of that hash."""
        with self.transaction():
            values = (model, self._remember(recipe), _text(content))
            self._database.execute("INSERT OR REPLACE INTO cross_entropy VALUES (?, ?, ?)", values)

    def cross_entropy(self, model: str) -> tuple[Row, Row] | None:
        """(recipe, content) of the model of that hash; None while it was not measured."""
        found = self._database.execute(
            "SELECT recipe, content FROM cross_entropy WHERE model = ?", (model,)
        ).fetchone()
        return None if found is None else (self.recipe(found[0]), json.loads(found[1]))


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """ "seed_index: 0 and 1; recogniser.model: ...": the keys in which two recipes differ, by path."""
    ours, theirs = _flat(first), _flat(second)
    keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    return "; ".join(f"{key}: {ours.get(key)} and {theirs.get(key)}" for key in keys)


def _flat(recipe: Mapping[str, Any], path: str = "") -> Row:
    found: Row = {}
    for key, value in recipe.items():
        inner = isinstance(value, Mapping) and value
        found |= _flat(value, f"{path}{key}.") if inner else {f"{path}{key}": value}
    return found


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=False)


def _refuse_old(folder: Path) -> None:
    """Results of before there was a store are migrated, not overlooked."""
    old = [path for name in OLD_FILES for path in folder.glob(f"*/{name}")]
    if old:
        raise InputError(
            f"{folder} holds results of an older version ({old[0].relative_to(folder)}): "
            f"python -m eval.store.migrate results={folder}"
        )
