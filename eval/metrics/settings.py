"""What a configuration says about metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricSettings:
    """The keys of configs/evaluate.yaml that metrics are built from; what each means is said there.

    asr: one recogniser, or several: the first makes the word errors, all of them the hearings.
    """

    language: str
    profile: str
    asr: str | tuple[str, ...]
    speaker: str | None
    mos: str | None
    device: str
    threads: int
    asr_batch: int
    asr_tokens_per_s: float | None


def word_error_settings(asr: str, threads: int) -> MetricSettings:
    """Word errors alone, of English by seed-tts-eval's rules, on the CPU."""
    return MetricSettings(
        language="en",
        profile="seedtts",
        asr=asr,
        speaker=None,
        mos=None,
        device="cpu",
        threads=threads,
        asr_batch=1,
        asr_tokens_per_s=None,
    )
