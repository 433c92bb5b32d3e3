"""Evaluations of made-up systems for boards."""

from pathlib import Path

from rich.console import Console

from tests.eval.made_up import RECIPES, WER_RECIPE, rows_with_errors, store_system

QUIET = Console(quiet=True)
EVIL = "<b>x & 'y' 50%"
EVIL_TEXT = '<script>alert("x")</script> goes on'
PLAN = {"layer_plan": ["attention", "mamba"], "n_parameters": 5_000_000}
OTHER_ASR = {"wer": WER_RECIPE | {"recogniser": {"tool": "openai-whisper", "model": "large-v3"}}}


def evaluation(
    root: Path,
    name: str,
    *,
    rate: float = 0.1,
    utterances: int = 30,
    seed: int = 0,
    recipes: dict = RECIPES,
    wavs: bool = False,
    rows: list | None = None,
    card: dict = PLAN,
) -> None:
    """What evaluate.py leaves of a system, with errors at `rate`."""
    rows = rows or rows_with_errors(name, seed, rate, utterances, EVIL_TEXT)
    folder = root / f"{name} {seed} {len(list(root.glob('*')))}".replace("/", "_")
    settings = {"seed": seed, "recipes": recipes, "wav_hz": 400 if wavs else None}
    store_system(folder, name, rows, card=card, **settings)
