"""stage=listening: a blind test's page to send to listeners, and the key to keep.

    <out>/page/index.html, <out>/page/clips/*.flac   for the listeners: the whole folder, on a disk or a server
    <out>/key.json                                   which clip is whose, and the answers to the checks

kind=mos asks how natural each clip is, 1 to 5 (ITU-T P.800); kind=pairs which of two sounds more natural, each
system against the baseline. Every listener has an order of their own, made of their name and kept with the
answers; a closed page goes on where it was left.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from eval.listening.clips import CEILING_DBTP, write_clips
from eval.listening.questions import ALLOWED_TO_FAIL, draw_questions, sounds_of
from eval.report.html import environment
from eval.store.evaluations import find_evaluations
from eval.store.files import InputError, read_json, sha256_json, write_json, write_text


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
    """Write page, clips and key for `n_items` sentences of every system below `results`; returns the page.

    Of a system with several seeds the first is heard. Equal arguments make an equal test.

    Raises:
        InputError: as `draw_questions` and `write_clips`, or a folder with the key of another test.
    """
    every = find_evaluations(results)
    systems = {one.name: one for one in sorted(every, key=lambda one: -one.seed)}
    systems = dict(sorted(systems.items()))
    questions = draw_questions(systems, kind=kind, baseline=baseline, n_items=n_items, seed=seed)
    page, key = out / "page", out / "key.json"
    known = read_json(key)
    fingerprint = sha256_json([kind, seed, [asdict(question) for question in questions]])
    if key.exists() and (
        not isinstance(known, dict) or known.get("questions_sha256") != fingerprint
    ):
        raise InputError(
            f"{out} holds the key of another test: its answers need it; take another out="
        )
    new = out / "clips.new"
    shutil.rmtree(new, ignore_errors=True)
    written = write_clips(sounds_of(questions, systems), new)
    test = sha256_json([fingerprint, written.sha256])[:12]
    if isinstance(known, dict) and known["test"] != test:
        shutil.rmtree(new)
        raise InputError(
            f"the speech below {results} is not that of {key} any more: take another out= for the new test"
        )
    shutil.rmtree(page / "clips", ignore_errors=True)
    page.mkdir(parents=True, exist_ok=True)
    new.rename(page / "clips")
    content = (
        environment()
        .get_template("listening.html.j2")
        .render(
            title=title,
            kind=kind,
            test=test,
            questions=questions,
            lufs=written.lufs,
            ceiling_dbtp=CEILING_DBTP,
        )
    )
    write_text(page / "index.html", content)
    write_json(
        key,
        {
            "test": test,
            "kind": kind,
            "baseline": baseline,
            "seed": seed,
            "lufs": written.lufs,
            "sample_rate_hz": written.sample_rate_hz,
            "questions_sha256": fingerprint,
            "questions": [asdict(question) for question in questions],
        },
    )
    n_checks = sum(question.check is not None for question in questions)
    console.print(
        f"{len(questions) - n_checks} questions about {len(systems)} systems, {n_checks} checks of the "
        f"listener (left out who fails more than {ALLOWED_TO_FAIL:.0%} of them); "
        f"clips at {written.lufs:.1f} LUFS\n"
        f"-> {page}: send this folder to the listeners\n-> {key}: which clip is whose; keep it",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    return page / "index.html"
