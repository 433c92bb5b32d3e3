"""One utterance's row: what the metrics say of its wav, and what is wrong with it.

A row is a flat dict with every column of `eval.metrics.registry` and

    utterance, text, duration_s, sample_rate_hz, wav_sha256
    status, detail      one of STATUSES: what is wrong with the wav or its transcript, and why
    failures            metric -> why it has no value for this clip; a prompt's fault is here, as no status:
                        the words of the clip are counted all the same
    flags               of FLAGS
    voice               the cluster of all statistics: see `eval.testset.Item`
    prompt              its path, None without one
    transcript          by the main recogniser
    reference_words     of the text after normalisation
    silence_end_s       after the last speech
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.metrics.audio import Audio, read_audio
from eval.metrics.clip import Clip, Hearing
from eval.metrics.guard import WINDOW_S, Span, loops, transcribe_long
from eval.metrics.registry import empty_values
from eval.metrics.weights import Unavailable
from eval.scoring.scorers import Scorers
from eval.store.files import sha256_file
from eval.testset import Item

# Every row has exactly one of these; all but the last two describe the wav.
STATUSES = (
    "ok",
    "missing",
    "corrupt",
    "empty",
    "silent",
    "nan",
    "asr_error",  # the main recogniser failed: all words count as lost
    "ref_empty",  # the text has no words after normalisation: expected, but there is no rate
)
# "long": longer than the recogniser's window, so read in parts; "no_speech": nobody speaks, whatever was heard;
# "loop": the transcript goes round in circles.
FLAGS = ("long", "no_speech", "loop")
Row = dict[str, Any]


def file_hash(path: Path) -> str | None:
    """sha256 of a file, None without one."""
    return sha256_file(path) if path.is_file() else None


def score_one(item: Item, wavs: Path, scorers: Scorers) -> Row:
    """The row of one item. Raises Unavailable for a model that cannot be had; other faults are in the row."""
    path = wavs / f"{item.utterance}.wav"
    audio = read_audio(path)
    reference = scorers.profile.normalise(item.text, scorers.language)
    row: Row = {
        "utterance": item.utterance,
        "status": audio.status,
        "detail": audio.detail,
        "failures": {},
        "flags": [],
        "voice": item.voice,
        "prompt": str(item.prompt_wav) if item.prompt_wav else None,
        "text": item.text,
        "transcript": None,
        "reference_words": len(reference.split()),
        "duration_s": audio.duration_s,
        "sample_rate_hz": audio.sample_rate_hz,
        "silence_end_s": None,
        "wav_sha256": file_hash(path),
        **empty_values(),
    }
    spans = _spans(audio, scorers)
    clip = Clip(
        audio=audio,
        text=item.text,
        reference=reference,
        hearings=_hearings(row, audio, spans, scorers),
        first=scorers.setup.first,
        speech=spans,
        prompt=item.prompt_wav,
        recording=item.recording,
        memory=scorers.cache,
    )
    if audio.wave is not None:
        row["transcript"] = clip.heard and clip.heard.transcript
        _add_flags(row, audio, spans)
    for name, scorer in scorers.metrics.items():
        if audio.wave is None and scorer.needs_audio:
            continue
        try:
            row |= scorer.score(clip)
        except Unavailable:
            raise
        except Exception as error:
            row["failures"][name] = f"{type(error).__name__}: {error}"
    if not reference.split():
        row["status"], row["detail"] = "ref_empty", "the text has no words after normalisation"
    return row


def _spans(audio: Audio, scorers: Scorers) -> tuple[Span, ...] | None:
    detector, wave = scorers.setup.detector, audio.wave
    if detector is None or wave is None:
        return None
    found = scorers.cache.get(detector.key, audio.sha256, lambda: detector.spans(wave))
    return tuple((start, end) for start, end in found)


def _hearings(
    row: Row, audio: Audio, spans: tuple[Span, ...] | None, scorers: Scorers
) -> dict[str, Hearing]:
    """What each recogniser heard. The main one's failure is the row's status, another's is in `failures`."""
    wave = audio.wave
    found: dict[str, Hearing] = {}
    if wave is None:
        return found
    for label, recogniser in scorers.setup.recognisers.items():
        try:
            transcript = scorers.cache.get(
                transcript_key(label, audio, scorers),
                audio.sha256,
                lambda heard_by=recogniser: (
                    heard_by.transcribe(wave)
                    if heard_by.whole_clips
                    else transcribe_long(wave, list(spans or ()), heard_by.transcribe)
                ),
            )
        except Unavailable:  # of the set-up, not of this row
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            if label == scorers.setup.first:
                row["status"], row["detail"] = "asr_error", reason
            else:
                row["failures"][f"wer:{label}"] = reason
            continue
        words = scorers.profile.hypothesis(transcript, scorers.language)
        found[label] = Hearing(transcript, words)
    return found


def transcript_key(label: str, audio: Audio, scorers: Scorers) -> str:
    """The recogniser, and for a clip that is read in parts what cuts it."""
    detector, recogniser = scorers.setup.detector, scorers.setup.recognisers[label]
    parts = audio.duration_s > WINDOW_S and not recogniser.whole_clips
    return f"{recogniser.key}-{detector.key}" if parts and detector else recogniser.key


def _add_flags(row: Row, audio: Audio, spans: tuple[Span, ...] | None) -> None:
    assert audio.wave is not None
    if audio.duration_s > WINDOW_S:
        row["flags"].append("long")
    if spans is not None:
        end_s = spans[-1][1] / 16_000 if spans else 0.0
        row["silence_end_s"] = round(max(0.0, len(audio.wave) / 16_000 - end_s), 2)
        if not spans:
            row["flags"].append("no_speech")
    if loops(row["transcript"] or ""):
        row["flags"].append("loop")


def synthesis_fields(synth_row: Mapping[str, Any] | None, row: Mapping[str, Any]) -> Row:
    """Counts and times of the synthesis, and why there is no wav when it failed."""
    synth_row = synth_row or {}
    fields = {name: synth_row.get(name) for name in ("n_tokens", "lm_s", "vocode_s", "hit_max")}
    if row["status"] == "missing" and synth_row.get("error"):
        fields["detail"] = f"synthesis failed: {synth_row['error']}"
    return fields
