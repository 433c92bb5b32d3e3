"""Results of before there was a store, into stores: python -m eval.store.migrate results=<folder>

Every evaluation below <folder> (one with <system>/scores.jsonl) gets an evaluation.sqlite; the old files are
left as they are. What they do not say is marked `unknown (migrated)`, so that rows of before are never taken
for rows of today. A store appears whole or not at all: stop the command and run it again as you like.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from eval.store.database import FILE, Store
from eval.store.files import InputError, read_json, read_jsonl

UNKNOWN = "unknown (migrated)"
# Rows of before have none of these.
ADDED: Mapping[str, Any] = {"fault_class": None, "lufs": None, "words_per_s": None, "hearings": {}}
METRICS = {"sim": "speaker", "mos": "mos"}
FAILURES = {
    "no similarity: ": "sim",
    "no MOS: ": "mos",
}  # how their `detail` begins, and of which metric


def migrate(results: Path, console: Console) -> int:
    """Migrate every old evaluation below `results`; how many there were.

    Raises:
        InputError: no old results there, or damaged ones, with the file.
    """
    folders = sorted({path.parents[1] for path in results.rglob("scores.jsonl")})
    if not folders:
        raise InputError(f"{results}: no results of an older version (<system>/scores.jsonl)")
    for folder in folders:
        if (folder / FILE).is_file():
            console.print(f"{folder}: has a store already", markup=False, soft_wrap=True)
            continue
        names = _migrate(folder)
        text = f"{folder}: {', '.join(names)} -> {folder / FILE}"
        console.print(text, markup=False, soft_wrap=True)
    return len(folders)


def _migrate(folder: Path) -> list[str]:
    """One evaluation; the names of its systems."""
    scratch = folder / ".migrating"
    (scratch / FILE).unlink(missing_ok=True)
    scratch.mkdir(exist_ok=True)
    names = [path.parent.name for path in sorted(folder.glob("*/scores.jsonl"))]
    # Read whole before anything is written in its place.
    store = Store(scratch, create=True)
    try:
        for name in names:
            try:
                _migrate_system(folder / name, store)
            except KeyError as error:
                raise InputError(
                    f"{folder / name}: {error} is missing: it cannot be migrated"
                ) from error
    finally:
        store.close()
    os.replace(scratch / FILE, folder / FILE)
    scratch.rmdir()
    return names


def _migrate_system(folder: Path, store: Store) -> None:
    card, scored = _whole(folder / "system.json"), _whole(folder / "scored.json")
    scores = folder / "scores.jsonl"
    rows = [_row(row) for row in read_jsonl(scores)]
    if not rows or scores.read_text(encoding="utf-8").count("\n") != len(rows):
        raise InputError(f"{scores} holds no whole rows, or a part of one: score that system again")
    # It was written before scoring, the rows after.
    if (folder / "scored.json").stat().st_mtime_ns > scores.stat().st_mtime_ns:
        raise InputError(
            f"{folder / 'scored.json'} is newer than {scores.name}: a scoring was stopped, or a copy lost the "
            "times of its files, and what made the rows is not known: score that system again"
        )
    rules = {name: value for name, value in scored["protocol"].items() if name != "sha256"}
    # In the shape of today's recipes (`eval.metrics`), so that pages can name the tools.
    wer = {
        "recogniser": {"tool": rules["asr"]},
        "profile": {"name": rules["profile"], "code": rules.get("rules_sha256")},
        "language": rules["language"],
    }
    guard = {"detector": rules.get("detector"), "code": rules.get("guard_sha256")}
    recipes: dict[str, Mapping[str, Any]] = {"wer": wer, "wer_guarded": {**wer, "guard": guard}}
    for metric, tool in METRICS.items():
        if rules.get(tool):
            recipes[metric] = {"tool": rules[tool]}
    seed = scored["seed_index"]
    facts = {name: card[name] for name in ("model_sha256", "codec_sha256") if name in card}
    # Old rows do not name the recipe of their speech: its hash in synth.jsonl says nothing that could be read.
    speech = {"kind": card["kind"], "source": card["source"], **facts}
    speech |= {"seed_index": seed, "sampling": UNKNOWN, "code": UNKNOWN}
    store.put_system(folder.name, speech, card)
    store.put_scores(
        folder.name,
        list(enumerate(rows)),
        utterances=[row["utterance"] for row in rows],
        test_set=scored["test_set"],
        seed=seed,
        speech_recipe=speech,
        metric_recipes={name: {**recipe, "code": UNKNOWN} for name, recipe in recipes.items()},
    )
    ce = read_json(folder / "ce.json")
    if isinstance(ce, dict) and "model_sha256" in card:
        known = {"recipe_sha256": ce.pop("recipe", None), "code": UNKNOWN}
        store.put_cross_entropy(card["model_sha256"], known, ce)


def _row(old: Mapping[str, Any]) -> dict[str, Any]:
    """A row of before with the columns of today; its cluster is the prompt's name, all that it says."""
    prompt = old["prompt"]
    failures = {
        metric: old["detail"].removeprefix(start)
        for start, metric in FAILURES.items()
        if old["detail"].startswith(start)
    }
    return {**old, **ADDED, "failures": failures, "voice": prompt or old["utterance"]}


def _whole(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} is missing or damaged: that evaluation cannot be migrated")
    return content


def main() -> None:
    """The command line."""
    key, _, value = sys.argv[1].partition("=") if len(sys.argv) == 2 else ("", "", "")
    if key != "results" or not value:
        sys.exit(__doc__)
    console = Console()
    try:
        count = migrate(Path(value), console)
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; run the same command to go on")
    text = f"{count} evaluations; the old files are no longer read and may be deleted"
    console.print(text, markup=False)


if __name__ == "__main__":
    main()
