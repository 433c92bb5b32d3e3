"""Evaluations as evaluate.py leaves them, without running it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.store.database import Store

WER = {"profile": "seedtts", "language": "en", "asr": "asr-p"}


def put_evaluation(
    folder: Path,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    seed: int = 0,
    test_set: str = "t",
    recipes: Mapping[str, Mapping[str, Any]] | None = None,
    card: Mapping[str, Any] | None = None,
    speech: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
) -> None:
    """Put the scored rows of a system into the store of the evaluation `folder`."""
    made_by = {"kind": "model", "model_sha256": name, "seed_index": seed, **(speech or {})}
    shown = {"kind": "model", "source": f"models/{name}", **(card or {})}
    store = Store(folder)
    if run is not None:
        store.begin_run(run, "2026-11-27T00:00:00+0000")
    store.put_system(name, made_by, shown)
    store.put_scores(
        name,
        [(place, {"wav_sha256": None, **row}) for place, row in enumerate(rows)],
        utterances=[row["utterance"] for row in rows],
        test_set=test_set,
        seed=seed,
        speech_recipe=made_by,
        metric_recipes=recipes or {"wer": WER},
    )
    store.close()
