"""Three short tones to score, and counting stand-ins for the metric models."""

import numpy as np
from rich.console import Console

from eval.metrics.asr.recogniser import Recogniser
from eval.metrics.mos.opinion import Opinion, OpinionModel
from eval.metrics.registry import build_scorers
from eval.metrics.settings import word_error_settings
from eval.metrics.setup import Setup
from eval.metrics.speaker.encoder import SpeakerEncoder
from eval.metrics.text.profiles import PROFILES
from eval.scoring.score import score
from eval.scoring.scorers import Scorers
from eval.store.cache import Cache
from eval.store.database import Store
from eval.store.evaluations import read_evaluation
from eval.testset import Item

RATE_HZ = 16_000
RECIPE = {"kind": "wavs", "source": "elsewhere"}
SETTINGS = word_error_settings("tiny.en", threads=1)


class CountingASR(Recogniser):
    def __init__(self, text: str = "hello world", name: str = "counting") -> None:
        self.text, self.name, self.calls = text, name, 0

    @property
    def recipe(self):
        return {"tool": self.name}

    def transcribe(self, wave: np.ndarray) -> str:
        self.calls += 1
        if self.text == "raise":
            raise RuntimeError("out of memory")
        return self.text


class BatchASR(CountingASR):
    """Hears several clips at once; `batches` has their lengths."""

    def __init__(self, batch: int = 2, fails: bool = False) -> None:
        super().__init__()
        self.batch, self.fails, self.batches = batch, fails, []

    def transcribe_batch(self, waves) -> list[str]:
        if self.fails:
            raise RuntimeError("out of [/memory]")  # brackets mean something to the console
        self.batches.append([len(wave) for wave in waves])
        return [self.text for _ in waves]


class PitchSpeaker(SpeakerEncoder):
    @property
    def recipe(self):
        return {"tool": "pitch"}

    def embed(self, wave: np.ndarray) -> np.ndarray:
        crossings = float(np.mean(np.diff(np.signbit(wave).astype(int)) != 0))
        return np.array([np.cos(20 * crossings), np.sin(20 * crossings)])


class PeakMOS(OpinionModel):
    @property
    def recipe(self):
        return {"tool": "peak"}

    def score(self, wave: np.ndarray) -> float:
        return 1 + 4 * float(np.abs(wave).max())


def tone(hz: float, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)


def items(world, names="abc", text="Hello, world!"):
    prompts = {"b": "high.wav"}
    return [
        Item(name, text, "hi", world / prompts.get(name, "low.wav"), None, i + 1)
        for i, name in enumerate(names)
    ]


def stand_ins(world, *asr: CountingASR, profile="seedtts", detector=None, language="en"):
    """Scorers of stand-ins: all metrics of the registry, none of which loads a network."""
    recognisers = {one.name: one for one in asr or (CountingASR(),)}
    setup = Setup(SETTINGS, PROFILES[profile], recognisers, detector, PitchSpeaker())
    own = {"mos": Opinion(PeakMOS())}
    return Scorers(setup, build_scorers(setup) | own, Cache(world / "cache"))


def run(world, these, asr=None, rows=None, profile="seedtts", detector=None, shard=(0, 1)):
    """Score the wavs of `world` as system "s"; (rows, scorers)."""
    given = asr if isinstance(asr, tuple) else (asr,) if asr else ()
    scorers = stand_ins(world, *given, profile=profile, detector=detector)
    return score_with(world, these, scorers, rows, shard), scorers


def score_with(world, these, scorers, rows=None, shard=(0, 1), console=None) -> list[dict]:
    """Rows of system "s" by these scorers."""
    store = Store(world / "out")
    store.put_system("s", RECIPE, {"kind": "wavs", "source": str(world / "out/wavs")})
    if rows:
        store.put_speech("s", RECIPE, [{"utterance": name, **row} for name, row in rows.items()])
    options = {"name": "s", "console": console or Console(quiet=True), "shard": shard}
    made = {"speech_recipe": RECIPE, "test_set": "list", "seed": 0}
    found = score(these, world / "out/wavs", store, scorers, **options, **made)
    store.close()
    return found


def stored(world) -> list[dict]:
    """The rows of system "s" as a report reads them."""
    [one] = read_evaluation(world / "out", ["s"])
    return list(one.rows)
