"""A blind listening test: a page for the listeners, and what their answers say.

    stage=listening   <out>/index.html to send to listeners, <out>/key.json to keep
    stage=ratings     the listeners' files + key.json -> table with intervals

kind=mos asks how natural each clip is, 1 to 5 (ITU-T P.800); kind=pairs which of two sounds more natural, each
system against the baseline. The page knows clips by random names only. Intervals come from resampling listeners
and sentences together, since both are samples. L listeners, U sentences.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from eval.analysis.statistics import Interval
from eval.report.page import audio_data_uri, environment
from eval.store.evaluations import Evaluated, check_comparable, find_evaluations
from eval.store.files import InputError, read_json, sha256_json, write_json, write_text

KINDS = ("mos", "pairs")
RESAMPLES = 10_000


def write_test(
    results: Path,
    out: Path,
    console: Console,
    *,
    kind: str,
    baseline: str | None,
    n_items: int,
    seed: int,
    title: str,
) -> Path:
    """Write the page and its key for `n_items` sentences of every system below `results`.

    Sentences are drawn among those that every system has usable speech for; equal arguments make an
    equal page. Returns the page.

    Raises:
        InputError: an unknown kind, pairs without a baseline, too few sentences or systems.
    """
    every = find_evaluations(results)
    systems = {one.name: one for one in sorted(every, key=lambda one: -one.seed)}  # the first seed
    check_comparable(systems.values())
    if kind not in KINDS:
        raise InputError(f"kind is {' or '.join(KINDS)}, not {kind!r}")
    if kind == "pairs" and (baseline not in systems or len(systems) < 2):
        raise InputError(
            f"pairs need baseline=<system> and another one; there are: {', '.join(systems)}"
        )
    shared = sorted(set.intersection(*(_usable(one) for one in systems.values())))
    if len(shared) < n_items:
        raise InputError(
            f"{len(shared)} sentences have usable speech of all of {', '.join(systems)}; n_items={n_items}"
        )
    rng = random.Random(seed)
    sentences = rng.sample(shared, n_items)
    questions = _questions(kind, list(systems), baseline, sentences, rng)
    clips = [
        [_clip(systems[name], question["utterance"]) for name in question["systems"]]
        for question in questions
    ]
    test = sha256_json([kind, seed, questions, clips])[:12]
    page = (
        environment()
        .get_template("listening.html.j2")
        .render(
            title=title, kind=kind, test=test, questions=list(zip(questions, clips, strict=True))
        )
    )
    write_json(
        out / "key.json", {"test": test, "kind": kind, "baseline": baseline, "questions": questions}
    )
    write_text(out / "index.html", page)
    console.print(
        f"{len(questions)} questions about {len(systems)} systems\n-> {out / 'index.html'} for the listeners"
        f"\n-> {out / 'key.json'} tells which clip is whose: keep it",
        soft_wrap=True,
    )
    return out / "index.html"


def _usable(one: Evaluated) -> set[str]:
    return {row["utterance"] for row in one.rows if row["status"] == "ok"}


def _questions(
    kind: str,
    systems: Sequence[str],
    baseline: str | None,
    sentences: Sequence[str],
    rng: random.Random,
) -> list[dict[str, Any]]:
    """In random order, sides of a pair at random too; `key` is all that the page shows of them."""
    others = [name for name in systems if name != baseline]
    asked = [
        {"utterance": sentence, "systems": [name] if kind == "mos" else [name, str(baseline)]}
        for sentence in sentences
        for name in (systems if kind == "mos" else others)
    ]
    rng.shuffle(asked)
    for question in asked:
        rng.shuffle(question["systems"])
    return [{"key": f"q{rng.getrandbits(40):010x}", **question} for question in asked]


def _clip(one: Evaluated, utterance: str) -> str:
    # Lossless and whole: nothing is judged but what the system made.
    uri = audio_data_uri(one.wavs / f"{utterance}.wav", limit_s=None)
    if uri is None:
        raise InputError(f"{one.wavs / f'{utterance}.wav'} cannot be read: score {one.name} again")
    return uri


@dataclass(frozen=True)
class Rating:
    """Mean over listeners and sentences of a system: a MOS, or the share of pairs it wins (ties half)."""

    system: str
    answers: int
    mean: Interval


def analyse(folder: Path, key: Path, console: Console) -> list[Rating]:
    """Read every listener's file in `folder`, write <folder>/ratings.csv, print the table.

    Raises:
        InputError: no key, no files, or a file of another test, with a wrong or missing answer.
    """
    description = read_json(key)
    if not isinstance(description, dict) or "questions" not in description:
        raise InputError(f"{key} is not the key of a listening test")
    questions = {question["key"]: question for question in description["questions"]}
    files = sorted(path for path in folder.glob("*.json") if path.name != key.name)
    if not files:
        raise InputError(f"{folder} holds no listener's .json files")
    rows = [row for path in files for row in _answers(path, description, questions)]
    frame = pd.DataFrame(rows)
    listeners = [read_json(path)["listener"] for path in files]  # type: ignore[index]
    twice = sorted({name for name in listeners if listeners.count(name) > 1})
    if twice:
        raise InputError(f"{folder} holds several files of {', '.join(twice)}: keep one of each")
    ratings = [
        Rating(str(system), len(part), crossed_mean(part))
        for system, part in frame.groupby("system")
    ]
    ratings.sort(key=lambda rating: -rating.mean.point)
    table = [
        {
            "system": r.system,
            "answers": r.answers,
            "mean": r.mean.point,
            "low": r.mean.low,
            "high": r.mean.high,
        }
        for r in ratings
    ]
    write_text(folder / "ratings.csv", pd.DataFrame(table).to_csv(index=False, float_format="%.4f"))
    name = "MOS" if description["kind"] == "mos" else f"preferred to {description['baseline']}"
    shown = Table(title=f"{len(files)} listeners", box=None, padding=(0, 1), pad_edge=False)
    for header in ("system", "answers", f"{name} [95 % CI]"):
        shown.add_column(header, justify="right" if header != "system" else "left")
    for r in ratings:
        shown.add_row(
            r.system, str(r.answers), f"{r.mean.point:.2f} [{r.mean.low:.2f}, {r.mean.high:.2f}]"
        )
    console.print(shown)
    console.print(f"-> {folder / 'ratings.csv'}", soft_wrap=True)
    return ratings


def _answers(
    path: Path, description: Mapping[str, Any], questions: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One row per answer: listener, system, utterance, value."""
    content = read_json(path)
    if not isinstance(content, dict) or not {"test", "listener", "answers"} <= content.keys():
        raise InputError(f"{path} is no listener's file")
    if content["test"] != description["test"]:
        raise InputError(f"{path} is not an answer to this test ({description['test']})")
    answers = content["answers"]
    if set(answers) != set(questions):
        missing = len(set(questions) - set(answers))
        raise InputError(f"{path}: {missing} of {len(questions)} questions have no answer")
    rows = []
    valid = (1, 2, 3, 4, 5) if description["kind"] == "mos" else (-1, 0, 1)
    for name, value in answers.items():
        if value not in valid:
            raise InputError(f"{path}: {value!r} is no answer to question {name}")
        question = questions[name]
        system, score = question["systems"][0], float(value)
        if description["kind"] == "pairs":
            # -1 is the first clip. A win counts 1, a tie half.
            first_wins = (1 - score) / 2
            own = question["systems"][0] != description["baseline"]
            system = question["systems"][0 if own else 1]
            score = first_wins if own else 1 - first_wins
        rows.append(
            {
                "listener": content["listener"],
                "system": system,
                "utterance": question["utterance"],
                "value": score,
            }
        )
    return rows


def crossed_mean(frame: pd.DataFrame, seed: int = 0) -> Interval:
    """Mean of `value` with an interval from resampling `listener` and `utterance` independently."""
    listeners, utterances = (pd.factorize(frame[name])[0] for name in ("listener", "utterance"))
    values = frame["value"].to_numpy(dtype=float)
    shape = (listeners.max() + 1, utterances.max() + 1)
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (listeners, utterances), values)
    np.add.at(counts, (listeners, utterances), 1)
    generator = np.random.default_rng(seed)
    draws = [
        generator.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(float) for n in shape
    ]
    totals = np.einsum("rl,lu,ru->r", draws[0], sums, draws[1], optimize=True)
    weights = np.einsum("rl,lu,ru->r", draws[0], counts, draws[1], optimize=True)
    means = totals[weights > 0] / weights[weights > 0]
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))
