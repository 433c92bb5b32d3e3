"""Report stage: score rows -> leaderboard.csv, leaderboard.md, self-contained report.html."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from eval.analysis.summary import Line
from eval.metrics.text.profiles import PROFILES
from eval.metrics.text.wer import DiffPart, word_diff
from eval.report.columns import columns_for, to_csv, to_markdown
from eval.store.evaluations import WER, Evaluated
from eval.store.files import write_text

PLAYED_RATES_HZ = (24_000, 16_000, 22_050, 32_000, 44_100, 48_000)  # that MP3 knows too
MAX_AUDIO_S = 30.0  # a runaway sentence must not blow up the page


@dataclass(frozen=True)
class SystemResult:
    """What the report shows of one system."""

    line: Line
    one: Evaluated
    curves_svg: str | None = None
    curves_source: str | None = None


def write_report(
    results: Sequence[SystemResult],
    out: Path,
    *,
    title: str,
    n_examples: int = 5,
) -> tuple[Path, Path, Path]:
    """Write the three files into `out`; returns the paths of CSV, Markdown and HTML.

    Args:
        n_examples: sentences with players.
    """
    lines = [result.line for result in results]
    paths = out / "leaderboard.csv", out / "leaderboard.md", out / "report.html"
    write_text(paths[0], to_csv(lines))
    write_text(paths[1], to_markdown(lines))
    write_text(paths[2], render_html(results, title=title, n_examples=n_examples))
    return paths


def render_html(
    results: Sequence[SystemResult],
    *,
    title: str,
    n_examples: int = 5,
) -> str:
    """The whole page as text. Everything that comes from data is escaped."""
    lines = [result.line for result in results]
    columns = columns_for(lines)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            facts=facts_of([result.one for result in results]),
            headers=[header for header, _ in columns],
            table=[[text(line) for _, text in columns] for line in lines],
            intervals=_intervals(lines),
            results=results,
            examples=_examples(results, n_examples),
            curves=[
                (result.line.system, Markup(result.curves_svg), result.curves_source)
                for result in results
                if result.curves_svg
            ],
        )
    )


def facts_of(systems: Sequence[Evaluated]) -> dict[str, str]:
    """What holds for the whole table: its size, and how each metric was measured."""
    if not systems:
        return {}
    shown = ("profile", "language", "asr", "speaker", "mos")
    recipes = [recipe for one in systems for recipe in one.recipes.values()]
    known = {name: str(recipe[name]) for recipe in recipes for name in shown if recipe.get(name)}
    return {"sentences": str(max(len(one.rows) for one in systems)), **known}


def environment() -> Environment:
    """The templates, which escape whatever they are given."""
    return Environment(
        loader=PackageLoader("eval.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _intervals(lines: Sequence[Line]) -> dict[str, Any]:
    """Positions in percent of the widest upper bound, for the interval chart."""
    drawn = [(line.system, line.wer) for line in lines if line.wer is not None]
    top = max([wer.high for _, wer in drawn], default=0.0) or 0.01
    return {
        "top": 100 * top,
        "rows": [
            {
                "system": system,
                "text": f"{100 * wer.point:.2f} %",
                "low": 100 * wer.low / top,
                "point": 100 * wer.point / top,
                "high": 100 * wer.high / top,
            }
            for system, wer in drawn
        ],
    }


def _examples(results: Sequence[SystemResult], n_examples: int) -> list[dict[str, Any]]:
    """Sentences spread over the list, preferably ones that every system was asked to say."""
    if not results:
        return []
    by_system = [{row["utterance"]: row for row in result.one.rows} for result in results]
    longest = max(by_system, key=len)
    shared = [name for name in longest if all(name in rows for rows in by_system)]
    names = shared or list(longest)
    step = max(1, len(names) // max(1, n_examples))
    examples = []
    for name in names[::step][:n_examples]:
        versions = [
            _version(result, rows[name])
            for result, rows in zip(results, by_system, strict=True)
            if name in rows
        ]
        examples.append({"utterance": name, "text": longest[name]["text"], "versions": versions})
    return examples


def _version(result: SystemResult, row: Mapping[str, Any]) -> dict[str, Any]:
    """One player: audio, transcript with its differences, scores."""
    transcript = row["transcript"]
    differences = aligned(row, result.one.recipes[WER]) if transcript is not None else []
    return {
        "system": result.line.system,
        "status": row["status"],
        "detail": row["detail"],
        "audio": audio_data_uri(result.one.wavs / f"{row['utterance']}.wav"),
        "diff": differences,
        "transcript": transcript,
        "wer": row["wer"],
        "sim": row["sim_prompt"],
        "mos": row["mos"],
        "hit_max": row["hit_max"],
    }


def aligned(row: Mapping[str, Any], rules: Mapping[str, Any]) -> list[DiffPart]:
    """The text and what was heard word by word, as the system's recipe of WER compares them."""
    profile, language = PROFILES[rules["profile"]], rules["language"]
    heard = profile.hypothesis(row["transcript"], language)
    return word_diff(profile.normalise(row["text"], language), heard)


def audio_data_uri(
    path: Path, form: str = "FLAC", limit_s: float | None = MAX_AUDIO_S
) -> str | None:
    """A wav as a `data:` URI in FLAC (lossless, half the size) or MP3 (a tenth); every browser plays both.

    None when the file cannot be read or has no samples.
    """
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError):
        return None
    wave = np.clip(np.nan_to_num(samples.mean(axis=1)), -1, 1)
    if rate_hz not in PLAYED_RATES_HZ:
        wave, rate_hz = soxr.resample(wave, rate_hz, PLAYED_RATES_HZ[0]), PLAYED_RATES_HZ[0]
    if len(wave) == 0:
        return None
    buffer = io.BytesIO()
    clip = wave if limit_s is None else wave[: int(limit_s * rate_hz)]
    soundfile.write(buffer, clip, rate_hz, format=form)
    kind = {"FLAC": "flac", "MP3": "mpeg"}[form]
    return f"data:audio/{kind};base64," + base64.b64encode(buffer.getvalue()).decode()
