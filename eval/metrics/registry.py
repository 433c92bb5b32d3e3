"""The one table of metrics: what is measured of every clip, how it is shown, and how it is built.

A new metric is a file in this folder with a `Scorer` and a line in METRICS. Rows, summaries with n and
interval, paired differences, CSV and tables follow from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from eval.metrics.clip import Scorer
from eval.metrics.faults import FaultClass
from eval.metrics.loudness import Loudness
from eval.metrics.mos.load import opinion_scorer
from eval.metrics.setup import Setup
from eval.metrics.speaker.similarity import prompt_similarity, recording_similarity
from eval.metrics.speaking_rate import SpeakingRate
from eval.metrics.text.agreement import agreement_scorer
from eval.metrics.text.errors import GuardedErrors, WordErrorRate


@dataclass(frozen=True)
class Column:
    """A number per clip that systems are compared by.

    name: in rows and CSV.
    header, form: in tables; `form` formats `scale` times the value.
    better: which way is better, None where neither is.
    ratio: (columns whose sum is divided, column that divides): a system's value is the ratio of its sums, as
        the corpus WER. None: the mean over the rows that have a value.
    """

    name: str
    header: str
    form: str
    better: Literal["higher", "lower"] | None
    explanation: str
    scale: float = 1.0
    ratio: tuple[tuple[str, ...], str] | None = None


@dataclass(frozen=True)
class Metric:
    """A line of the table.

    name: the key of its recipe, and of its failures in a row.
    build: from what all metrics share to its scorer; None when the settings leave it out.
    fields: what it writes into a row besides its columns.
    """

    name: str
    build: Callable[[Setup], Scorer | None]
    columns: tuple[Column, ...]
    fields: tuple[str, ...] = ()


_WORDS = ("substitutions", "deletions", "insertions")
METRICS: list[Metric] = [
    Metric(
        "wer",
        WordErrorRate,
        (
            Column(
                *(
                    "wer",
                    "WER %",
                    "{:.2f}",
                    "lower",
                    "word errors per reference word (zh: characters)",
                ),
                scale=100,
                ratio=(_WORDS, "reference_words"),
            ),
        ),
        (*_WORDS, "hearings"),
    ),
    Metric(
        "wer_guarded",
        GuardedErrors,
        (
            Column(
                *("wer_guarded", "guarded %", "{:.2f}", "lower"),
                "WER with the recogniser's inventions capped at the words of the text",
                scale=100,
                ratio=(("guarded_errors",), "reference_words"),
            ),
        ),
        ("guarded_errors",),
    ),
    Metric(
        "sim",
        prompt_similarity,
        (
            Column(
                "sim_prompt",
                "SIM",
                "{:.3f}",
                "higher",
                "cosine of speaker embeddings to the own prompt",
            ),
            Column(
                "sim_other", "SIM other", "{:.3f}", None, "mean cosine to prompts of other voices"
            ),
        ),
    ),
    Metric(
        "sim_recording",
        recording_similarity,
        (
            Column(
                *("sim_recording", "SIM rec.", "{:.3f}", "higher"),
                "cosine of speaker embeddings to the original recording",
            ),
        ),
    ),
    Metric(
        "mos",
        opinion_scorer,
        (Column("mos", "MOS", "{:.2f}", "higher", "predicted mean opinion score, 1 to 5"),),
    ),
    Metric(
        "agreement",
        agreement_scorer,
        (
            Column(
                *("agreement", "ASR agree %", "{:.1f}", None),
                "share of words on which the first two recognisers agree",
                scale=100,
            ),
        ),
    ),
    Metric("faults", FaultClass, (), ("fault_class",)),
    Metric("lufs", Loudness, (Column("lufs", "LUFS", "{:.1f}", None, "loudness, BS.1770"),)),
    Metric(
        "rate",
        SpeakingRate,
        (Column("words_per_s", "words/s", "{:.2f}", None, "words heard per second of speech"),),
    ),
]


def empty_values() -> dict[str, Any]:
    """What a row has before any metric spoke: None for every column and field that one may write."""
    names = [(*(column.name for column in metric.columns), *metric.fields) for metric in METRICS]
    return dict.fromkeys(name for line in names for name in line)


def build_scorers(setup: Setup) -> dict[str, Scorer]:
    """The metrics that the settings ask for, by name. Raises Unavailable for a name that is not known."""
    built = {metric.name: metric.build(setup) for metric in METRICS}
    return {name: scorer for name, scorer in built.items() if scorer is not None}
