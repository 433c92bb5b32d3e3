"""Synthesis stage: items -> one wav per utterance and one row per utterance.

Writes `<out>/wavs/<utterance>.wav` (PCM16) and `<out>/synth.jsonl`. A row is appended as soon as
its wav is in place, so an interrupt loses at most the batch in progress. A later run keeps what
is still valid: status ok, the wav's hash unchanged, the recipe (model, codec, sampling, texts,
seed) unchanged. The rest is done again.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from rich.console import Console

from eval.progress import progress_bar
from eval.store.files import (
    json_line,
    read_jsonl,
    sha256_bytes,
    sha256_file,
    write_bytes,
    write_jsonl,
)
from eval.synthesis.systems import Spoken, Voicer
from eval.testset import Item


def synthesize(
    items: Sequence[Item],
    voicer: Voicer,
    out: Path,
    *,
    name: str,
    console: Console,
) -> list[dict[str, Any]]:
    """Say every item, reusing what a former run finished.

    Args:
        out: folder of this system.
        name: shown in front of the progress bar.

    Returns:
        One row per item in list order: utterance, status ("ok" or "error"), n_tokens, duration_s,
        lm_s, vocode_s, rtf, hit_max, sha256, recipe, error. A failed item does not stop the others.

    Raises:
        InputError: from `voicer.check`, before any model loads, or from `voicer.load`.
    """
    voicer.check(items)
    recipes = {item.utterance: voicer.recipe(item) for item in items}
    rows = reusable_rows(out, recipes)
    todo = [item for item in items if item.utterance not in rows]
    console.print(f"{name}: {len(rows)} of {len(items)} sentences are ready -> {out / 'wavs'}")
    if todo:
        voicer.load()
        out.mkdir(parents=True, exist_ok=True)
        with (
            (out / "synth.jsonl").open("a", encoding="utf-8") as stream,
            progress_bar(console) as bar,
        ):
            stream.write("\n")  # ends a line that a kill may have left open
            task = bar.add_task(f"{name}: synthesis", total=len(todo))
            # Texts of one length end together, so that a batch carries few finished rows.
            if voicer.batch > 1:
                todo.sort(key=lambda item: (len(item.text), item.line))
            for start in range(0, len(todo), voicer.batch):
                for row in _synthesize(todo[start : start + voicer.batch], voicer, out, recipes):
                    rows[row["utterance"]] = row
                    stream.write(json_line(row))
                    bar.advance(task)
                stream.flush()
    ordered = [rows[item.utterance] for item in items]
    write_jsonl(out / "synth.jsonl", ordered)
    failed = [row for row in ordered if row["status"] != "ok"]
    if failed:
        first = failed[0]
        console.print(
            f"[yellow]{name}: {len(failed)} of {len(items)} sentences failed[/]; the first, "
            f"{first['utterance']}: {first['error']}",
            highlight=False,
        )
    return ordered


def reusable_rows(out: Path, recipes: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Rows of a former run that still hold, by utterance; `recipes` is utterance -> recipe."""
    kept = {}
    for row in read_jsonl(out / "synth.jsonl"):
        utterance = row.get("utterance")
        if utterance not in recipes:
            continue
        # A later line of the same utterance stands for a later attempt, whatever it brought.
        kept.pop(utterance, None)
        wav = wav_path(out, utterance)
        if (
            row.get("status") == "ok"
            and row.get("recipe") == recipes[utterance]
            and wav.is_file()
            and sha256_file(wav) == row.get("sha256")
        ):
            kept[utterance] = row
    return kept


def wav_path(out: Path, utterance: str) -> Path:
    """Where the speech of an utterance lies."""
    return out / "wavs" / f"{utterance}.wav"


def pcm16_bytes(wave: np.ndarray, sample_rate_hz: int) -> bytes:
    """(n,) float waveform -> the bytes of a PCM16 wav file.

    Raises:
        ValueError: no samples, or NaN and infinite ones, which PCM16 would turn into noise.
    """
    if wave.size == 0:
        raise ValueError("the waveform has no samples")
    if not np.isfinite(wave).all():
        raise ValueError("the waveform has NaN or infinite samples")
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave, -1, 1), sample_rate_hz, subtype="PCM_16", format="WAV")
    return buffer.getvalue()


def _synthesize(
    items: Sequence[Item], voicer: Voicer, out: Path, recipes: dict[str, str]
) -> list[dict[str, Any]]:
    """Rows of items said together; when the batch fails, of each item said alone."""
    try:
        spoken = voicer.say(items)
    except Exception as error:
        if len(items) > 1:  # whose fault it is shows when each is alone
            return [row for item in items for row in _synthesize([item], voicer, out, recipes)]
        # A wav of an older recipe must not be scored as if it were this one.
        wav_path(out, items[0].utterance).unlink(missing_ok=True)
        return [_row(items[0].utterance, recipes[items[0].utterance], None, error=_text(error))]
    pairs = zip(items, spoken, strict=True)
    return [_write(item, speech, out, recipes[item.utterance]) for item, speech in pairs]


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _write(item: Item, spoken: Spoken, out: Path, recipe: str) -> dict[str, Any]:
    path = wav_path(out, item.utterance)
    try:
        content = pcm16_bytes(spoken.wave, spoken.sample_rate_hz)
        write_bytes(path, content)
    except Exception as error:
        path.unlink(missing_ok=True)
        return _row(item.utterance, recipe, spoken, error=_text(error))
    return _row(item.utterance, recipe, spoken, sha256=sha256_bytes(content))


def _row(
    utterance: str,
    recipe: str,
    spoken: Spoken | None,
    sha256: str | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    duration_s = spoken.wave.size / spoken.sample_rate_hz if spoken and sha256 else None
    rtf = None
    if spoken and duration_s and spoken.lm_s is not None and spoken.vocode_s is not None:
        rtf = (spoken.lm_s + spoken.vocode_s) / duration_s
    return {
        "utterance": utterance,
        "status": "error" if error else "ok",
        "n_tokens": spoken.n_tokens if spoken else None,
        "duration_s": duration_s,
        "lm_s": spoken.lm_s if spoken else None,
        "vocode_s": spoken.vocode_s if spoken else None,
        "rtf": rtf,
        "hit_max": spoken.hit_max if spoken else None,
        "sha256": sha256,
        "recipe": recipe,
        "error": error,
    }
