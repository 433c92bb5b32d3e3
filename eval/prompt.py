"""A prompt that somebody brings along: whether a voice can be taken from it, in one sentence where not.

For one sentence on the command line and on the page. Lists are taken as they are: protocols name their prompts.
"""

from __future__ import annotations

from pathlib import Path

from eval.metrics.audio import SAMPLE_RATE_HZ, Audio, read_audio
from eval.metrics.guard import SpeechDetector
from eval.store.files import InputError

# CosyVoice takes prompts of at most 30 s (cli/frontend.py, _extract_speech_token); below a second nobody's
# voice can be told from another's.
MIN_S, MAX_S = 1.0, 30.0
MIN_SPEECH_S = (
    0.7  # within it: the shortest shipped prompt has 1.3 s; noise and plain music have none
)
FORMATS = "WAV, FLAC, OGG or MP3"


def read_prompt(path: str | Path) -> Audio:
    """The prompt at 16 kHz, mono, whatever its rate and channels are.

    Raises InputError for what is no speech of one to thirty seconds: its message starts with "the prompt".
    """
    audio = read_audio(path)
    reasons = {
        "missing": f"is not there: {path}",
        "corrupt": f"cannot be read as {FORMATS}",
        "empty": "has no samples",
        "nan": "has NaN or infinite samples",
        "silent": "is silent",
    }
    if audio.status != "ok":
        raise InputError(f"the prompt {reasons[audio.status]}")
    if not MIN_S <= audio.duration_s <= MAX_S:
        raise InputError(
            f"the prompt is {audio.duration_s:.1f} s long: give {MIN_S:.0f} to {MAX_S:.0f} s of speech"
        )
    assert audio.wave is not None
    spoken = sum(end - start for start, end in SpeechDetector().spans(audio.wave))
    if spoken < MIN_SPEECH_S * SAMPLE_RATE_HZ:
        raise InputError(
            "in the prompt nobody speaks, or not long enough: give a voice without music or noise"
        )
    return audio
