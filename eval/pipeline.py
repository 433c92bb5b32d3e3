"""The stages of one evaluation over all its systems: synthesise, score, report.

<out>/<system>/{wavs/, synth.jsonl, system.json, scored.json, scores.jsonl, ce.json}
<out>/{leaderboard.csv, leaderboard.md, report.html, manifest.json}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from eval.analysis.summary import Line, leaderboard_line, line_against
from eval.report.columns import terminal_columns
from eval.report.curves import curves_svg, find_metrics_csv, read_curves
from eval.report.page import SystemResult, write_report
from eval.report.terminal import number_table
from eval.scoring.score import score
from eval.scoring.scorers import Scorers
from eval.store.evaluations import read_card, read_rules
from eval.store.files import InputError, read_json, read_jsonl, sha256_file, sha256_json, write_json
from eval.store.manifest import manifest
from eval.synthesis.build import System
from eval.synthesis.cross_entropy import cross_entropy, prompt_voices, read_held_out
from eval.synthesis.model_voicer import ModelVoicer
from eval.synthesis.synthesize import synthesize

STAGES = ("all", "synthesize", "score", "report")


def synthesize_systems(systems: Sequence[System], n_items: int, console: Console) -> None:
    """Synthesis stage for every system."""
    for system in systems:
        if len(system.items) < n_items:
            console.print(
                f"{system.name}: {n_items - len(system.items)} of {n_items} items have no original "
                "recording and are not asked of this system"
            )
        if system.voicer is not None:
            place = (system.voicer, system.folder)
            synthesize(system.items, *place, name=system.name, console=console)
        write_json(system.folder / "system.json", system.card())


def score_systems(
    systems: Sequence[System],
    scorers: Scorers,
    *,
    tokens: Path | None,
    ce_limit: int | None,
    console: Console,
    test_set: str = "",
    seed_index: int = 0,
    shard: tuple[int, int] = (0, 1),
) -> None:
    """Scoring stage for every system; cross-entropy for the models when held-out tokens are given.

    `test_set` (hash of the list) and `seed_index` are kept beside the scores.

    Raises:
        InputError: a system that was never synthesised.
    """
    voice_of = prompt_voices(tokens) if tokens else None
    for system in systems:
        if system.voicer is not None and not (system.folder / "synth.jsonl").is_file():
            raise InputError(
                f"{system.folder}: nothing synthesised yet; run stage=synthesize first"
            )
        synth_rows = {row["utterance"]: row for row in read_jsonl(system.folder / "synth.jsonl")}
        write_json(system.folder / "system.json", system.card())
        write_json(system.folder / "scored.json", scored_by(scorers, test_set, seed_index))
        score(
            system.items,
            system.wavs,
            system.folder,
            scorers,
            synth_rows,
            name=system.name,
            console=console,
            voice_of=voice_of,
            shard=shard,
        )
        if tokens and isinstance(system.voicer, ModelVoicer):
            _score_cross_entropy(system, system.voicer, tokens, ce_limit, console)


def scored_by(scorers: Scorers, test_set: str, seed_index: int) -> dict[str, Any]:
    """What a system's scores were made with: decides, with the rows, who may be ranked with whom."""
    rules = scorers.protocol()
    protocol = rules | {"sha256": sha256_json(rules)}
    return {"protocol": protocol, "test_set": test_set, "seed_index": seed_index}


def _score_cross_entropy(
    system: System, voicer: ModelVoicer, tokens: Path, limit: int | None, console: Console
) -> None:
    path = system.folder / "ce.json"
    recipe = sha256_json([voicer.model_sha256, sha256_file(tokens), limit])
    known = read_json(path)
    if isinstance(known, dict) and known.get("recipe") == recipe:
        return
    rows = read_held_out(tokens, limit)
    speaker = voicer.synthesizer
    result = cross_entropy(
        speaker.lm, rows, name=system.name, console=console, tokenizer=speaker.tokenizer
    )
    write_json(path, {"recipe": recipe, **asdict(result)})


def report_systems(
    systems: Sequence[System],
    out: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    baseline: str | None,
    n_examples: int,
    console: Console,
) -> list[Line]:
    """Report stage: reads rows, writes the tables and the page, prints the table.

    Raises:
        InputError: a system without scores, or a baseline that is not among the systems.
    """
    rows = {system.name: read_jsonl(system.folder / "scores.jsonl") for system in systems}
    for system in systems:
        if not rows[system.name]:
            raise InputError(f"{system.folder}: nothing scored yet; run stage=score first")
    if baseline is not None and baseline not in rows:
        raise InputError(f"baseline {baseline!r} is not among the systems: {', '.join(rows)}")
    rules = read_rules(systems[0].folder)["protocol"]
    shown = ("profile", "language", "asr", "speaker", "mos")
    facts = dict(facts) | {name: str(rules[name]) for name in shown if rules.get(name)}
    results = []
    for system in systems:
        card = read_card(system.folder) | {"protocol": read_rules(system.folder)["protocol"]}
        line = leaderboard_line(system.name, card, rows[system.name])
        if baseline is not None and system.name != baseline:
            line = line_against(line, rows[system.name], baseline, rows[baseline])
        svg, source = _curves(system, console)
        results.append(SystemResult(line, card, rows[system.name], system.wavs, svg, source))
    paths = write_report(results, out, title=title, facts=facts, n_examples=n_examples)
    lines = [result.line for result in results]
    console.print(rich_table(lines, title))
    for path in paths:
        console.print(f"-> {path}", soft_wrap=True)
    return lines


def lines_of(systems: Sequence[System]) -> list[Line]:
    """A line for every system that has scores."""
    rows = {system.name: read_jsonl(system.folder / "scores.jsonl") for system in systems}
    return [
        leaderboard_line(system.name, read_card(system.folder), rows[system.name])
        for system in systems
        if rows[system.name]
    ]


def _curves(system: System, console: Console) -> tuple[str | None, str | None]:
    """Loss curves of the run that made a model, when it left a metrics CSV."""
    if not isinstance(system.voicer, ModelVoicer):
        return None, None
    path = find_metrics_csv(system.voicer.model_folder)
    if path is None:
        return None, None
    try:
        return curves_svg(read_curves(path)), str(path)
    except ValueError as error:
        console.print(f"[yellow]{system.name}: no loss curves[/]: {error}", highlight=False)
        return None, None


def rich_table(lines: Sequence[Line], title: str) -> Table:
    """The headline columns of the leaderboard, narrow enough for a terminal of 80 characters."""
    columns = terminal_columns(lines)
    rows = [[text(line) for _, text in columns] for line in lines]
    return number_table(title, [header for header, _ in columns], rows)


def write_manifest(
    systems: Sequence[System],
    scorers: Scorers,
    out: Path,
    *,
    config: Mapping[str, Any],
    test_set: str,
    seed_index: int,
    device: str,
) -> Path:
    """Write `manifest.json` into the results folder."""
    content = manifest(
        config=config,
        meta_sha256=test_set,
        systems={system.name: system.card() for system in systems},
        protocol=scored_by(scorers, test_set, seed_index)["protocol"],
        seed_index=seed_index,
        device=device,
    )
    write_json(out / "manifest.json", content)
    return out / "manifest.json"
