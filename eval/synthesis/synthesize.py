"""Synthesis stage: items -> one wav per utterance and one row of the store beside it.

Writes `<out>/<system>/wavs/<utterance>.wav` (PCM16). A row is written as soon as its wav is in place, so an
interrupt loses at most the batch in progress. A later run keeps what is still valid: status ok, the wav's
hash unchanged, the recipe (model, codec, effective sampling, seed index, code) and the inputs (texts, prompt)
unchanged. The rest is done again. n processes can share the work (shards).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from rich.console import Console
from rich.markup import escape

from eval.console import progress_bar
from eval.store.database import Store, differing
from eval.store.files import sha256_bytes, sha256_file, sha256_json, write_bytes
from eval.synthesis.systems import Spoken, Voicer
from eval.testset import Item
from mamtra.lm.runtime import runtime_text


def synthesize(
    items: Sequence[Item],
    voicer: Voicer,
    store: Store,
    *,
    name: str,
    console: Console,
    shard: tuple[int, int] = (0, 1),
) -> list[dict[str, Any]]:
    """Say every item, reusing what a former run finished.

    Args:
        store: of the evaluation; the wavs go to `<its folder>/<name>/wavs`.
        name: of the system.
        shard: (i, n): say every n-th item from the i-th on.

    Returns:
        One row per item in list order: utterance, status ("ok" or "error"), inputs, n_tokens, duration_s,
        lm_s, vocode_s, rtf, hit_max, sha256, error. A failed item does not stop the others.

    Raises:
        InputError: from `voicer.check`, before any model loads, or from `voicer.load`.
    """
    voicer.check(items)
    mine = items[shard[0] :: shard[1]]
    recipe, card, out = voicer.recipe(), voicer.card(), store.folder / name
    inputs = {item.utterance: voicer.inputs(item) for item in mine}
    store.put_system(name, recipe, card)
    rows = reusable_rows(store, name, recipe, inputs)
    todo = [item for item in mine if item.utterance not in rows]
    message = f"{name}: {len(rows)} of {len(mine)} sentences are ready -> {out / 'wavs'}"
    console.print(message, markup=False, soft_wrap=True)
    if todo:
        if "runtime" in card:
            facts = runtime_text(card["runtime"])
            console.print(f"{name}: model on {facts}", markup=False, soft_wrap=True)
        voicer.load()
        with progress_bar(console) as bar:
            task = bar.add_task(f"{escape(name)}: synthesis", total=len(todo))
            # Texts of one length end together, so that a batch carries few finished rows.
            if voicer.batch > 1:
                todo.sort(key=lambda item: (len(item.text), item.line))
            for start in range(0, len(todo), voicer.batch):
                made = _synthesize(todo[start : start + voicer.batch], voicer, out, inputs)
                store.put_speech(name, recipe, made)
                rows |= {row["utterance"]: row for row in made}
                bar.advance(task, len(made))
    ordered = [rows[item.utterance] for item in mine]
    failed = [row for row in ordered if row["status"] != "ok"]
    if failed:
        first = failed[0]
        console.print(
            f"{name}: {len(failed)} of {len(mine)} sentences failed; the first, "
            f"{first['utterance']}: {first['error']}",
            style="yellow",
            highlight=False,
            markup=False,
        )
    return ordered


def reusable_rows(
    store: Store, name: str, recipe: Mapping[str, Any], inputs: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Rows of a former run that still hold, by utterance; `inputs` is utterance -> hash."""
    known, wanted = store.speech(name), sha256_json(recipe)
    kept = {}
    for utterance in inputs:
        made_by, row = known.get(utterance, (None, {}))
        wav = wav_path(store.folder / name, utterance)
        if (
            made_by == wanted
            and row["status"] == "ok"
            and row["inputs"] == inputs[utterance]
            and wav.is_file()
            and sha256_file(wav) == row["sha256"]
        ):
            kept[utterance] = row
    return kept


def why_not_ready(store: Store, name: str, voicer: Voicer, items: Sequence[Item]) -> str | None:
    """Why the wavs of a system are not those that its present settings ask for; None when they are.

    A wav that could not be made counts as made: its utterance is scored as missing.
    """
    known, recipe = store.speech(name), voicer.recipe()
    wanted = sha256_json(recipe)
    absent = [item.utterance for item in items if item.utterance not in known]
    if absent:
        return f"{len(absent)} of {len(items)} utterances are not synthesised ({absent[0]}, ...)"
    for item in items:
        made_by, row = known[item.utterance]
        if made_by != wanted:
            gap = differing(store.recipe(made_by), recipe)
            return f"{item.utterance} was synthesised by another recipe ({gap})"
        if row["inputs"] != voicer.inputs(item):
            return f"the text or the prompt of {item.utterance} changed since it was synthesised"
        wav = wav_path(store.folder / name, item.utterance)
        if row["status"] == "ok" and (not wav.is_file() or sha256_file(wav) != row["sha256"]):
            return f"{wav} is not the file that was synthesised"
    return None


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
    items: Sequence[Item], voicer: Voicer, out: Path, inputs: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Rows of items said together; when the batch fails, of each item said alone."""
    try:
        spoken = voicer.say(items)
    except Exception as error:
        if len(items) > 1:  # whose fault it is shows when each is alone
            return [row for item in items for row in _synthesize([item], voicer, out, inputs)]
        # A wav of an older recipe must not be scored as if it were this one.
        wav_path(out, items[0].utterance).unlink(missing_ok=True)
        return [_row(items[0].utterance, inputs[items[0].utterance], None, error=_text(error))]
    pairs = zip(items, spoken, strict=True)
    return [_write(item, speech, out, inputs[item.utterance]) for item, speech in pairs]


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _write(item: Item, spoken: Spoken, out: Path, inputs: str) -> dict[str, Any]:
    path = wav_path(out, item.utterance)
    try:
        if spoken.error:
            raise ValueError(spoken.error)
        content = pcm16_bytes(spoken.wave, spoken.sample_rate_hz)
        write_bytes(path, content)
    except Exception as error:
        path.unlink(missing_ok=True)
        return _row(item.utterance, inputs, spoken, error=_text(error))
    return _row(item.utterance, inputs, spoken, sha256=sha256_bytes(content))


def _row(
    utterance: str,
    inputs: str,
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
        "inputs": inputs,
        "n_tokens": spoken.n_tokens if spoken else None,
        "duration_s": duration_s,
        "lm_s": spoken.lm_s if spoken else None,
        "vocode_s": spoken.vocode_s if spoken else None,
        "rtf": rtf,
        "hit_max": spoken.hit_max if spoken else None,
        "sha256": sha256,
        "error": error,
    }
