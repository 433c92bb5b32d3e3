"""Scored systems in a store, as evaluate.py leaves them, made up."""

from pathlib import Path
from zlib import crc32

import numpy as np
import soundfile

from eval.store.files import sha256_file
from tests.eval.stored import put_evaluation

RATE_HZ = 16_000
WER_RECIPE = {
    "recogniser": {"tool": "faster-whisper", "model": "tiny.en", "version": "1"},
    "profile": {"name": "whisper", "code": "c0de"},
    "language": "en",
    "counting": {"tool": "jiwer"},
}
RECIPES = {
    "wer": WER_RECIPE,
    "wer_guarded": WER_RECIPE | {"guard": "g"},
    "sim": {"tool": "ge2e", "version": "1", "audio": "a"},
    "mos": {"tool": "distillmos", "version": "1", "audio": "a"},
    "lufs": {"tool": "pyloudnorm", "version": "1"},
    "rate": {"speech": {"tool": "silero"}, "code": "c0de"},
    "faults": WER_RECIPE | {"guard": "g", "code": "c0de"},
}


def with_profile(name: str) -> dict:
    """RECIPES with another profile of texts."""
    wer = WER_RECIPE | {"profile": {"name": name, "code": "c0de"}}
    return RECIPES | {"wer": wer, "wer_guarded": wer | {"guard": "g"}}


def scored_row(utterance: str, **changes) -> dict:
    """A row without fault; `changes` replaces what differs."""
    row = {
        "utterance": utterance,
        "status": "ok",
        "detail": "",
        "failures": {},
        "flags": [],
        "prompt": "voices/a/prompt.wav",
        "voice": "a",
        "text": "one two three four",
        "transcript": "one two three four",
        "wer": 0.0,
        "substitutions": 0,
        "deletions": 0,
        "insertions": 0,
        "guarded_errors": 0,
        "wer_guarded": 0.0,
        "reference_words": 4,
        "fault_class": "ok",
        "hearings": {},
        "sim_prompt": 0.9,
        "sim_other": 0.5,
        "sim_recording": None,
        "mos": 3.1,
        "lufs": -20.0,
        "words_per_s": 2.5,
        "duration_s": 1.6,
        "silence_end_s": 0.1,
        "n_tokens": None,
        "lm_s": None,
        "vocode_s": None,
        "hit_max": None,
        "wav_sha256": "0",
    }
    assert changes.keys() <= row.keys(), changes.keys() - row.keys()
    return row | changes


def rows_with_errors(
    name: str, seed: int, rate: float, utterances: int, text: str, voices: int = 10
) -> list[dict]:
    """Rows of texts of 3 to 42 words with word errors at `rate`, most of them substitutions."""
    rng, rows = np.random.default_rng(crc32(f"{name} {seed}".encode())), []
    for i in range(utterances):
        n_words = 3 + i % 40
        errors = int(rng.binomial(n_words, rate))
        fault = ("substituted", "loop", "cut_short")[i % 3] if errors else "ok"
        rows.append(
            scored_row(
                f"u{i}",
                text=text,
                transcript="something else goes on",
                wer=errors / n_words,
                substitutions=errors,
                guarded_errors=errors,
                wer_guarded=errors / n_words,
                reference_words=n_words,
                fault_class=fault,
                voice=f"v{i % voices}",
                prompt=f"voices/v{i % voices}/prompt.wav",
                sim_prompt=round(0.9 - 0.2 * rate + 0.02 * rng.standard_normal(), 4),
                mos=round(3.5 - rate + 0.2 * rng.standard_normal(), 4),
                lufs=round(-20 + rng.standard_normal(), 2),
                duration_s=0.4 * n_words,
            )
        )
    return rows


def store_system(
    folder: Path,
    name: str,
    rows: list[dict],
    *,
    seed: int = 0,
    recipes: dict | None = None,
    test_set: str = "t",
    card: dict | None = None,
    wav_hz: float | None = None,
) -> None:
    """Put a system's rows into the store of `folder`, with tones of `wav_hz` as its speech."""
    recipes = RECIPES if recipes is None else recipes
    if wav_hz is not None:
        (folder / name / "wavs").mkdir(parents=True, exist_ok=True)
        for number, row in enumerate(rows):
            t = np.arange(RATE_HZ) / RATE_HZ
            tone = 0.1 * (1 + number % 5) * np.sin(2 * np.pi * wav_hz * t)
            path = folder / name / f"wavs/{row['utterance']}.wav"
            soundfile.write(path, tone, RATE_HZ)
            row["wav_sha256"] = sha256_file(path)
    put_evaluation(folder, name, rows, seed=seed, test_set=test_set, recipes=recipes, card=card)
