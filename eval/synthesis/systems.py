"""The systems of a table: an exported language model, the codec alone, the recordings.

Each is a `Voicer`: it names what its output depends on (`recipe` of all items, `inputs` of one), and says
one item at a time. Nothing heavy loads before the first `say`, so a complete run costs no model load.

Shapes: n samples.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
import soxr
import torch

import mamtra
from eval.store.files import InputError, sha256_bytes, sha256_file, sha256_json
from eval.testset import Item
from mamtra.speech.base import SpeechCodec
from mamtra.systems import TextFrontend, system_of

RECORDINGS = "recordings"
CODEC = "codec"


@dataclass(frozen=True)
class Spoken:
    """wave: (n,) float32. Token counts and times are None where no language model took part; `error` says why
    there is no speech."""

    wave: np.ndarray
    sample_rate_hz: int
    n_tokens: int | None = None
    lm_s: float | None = None
    vocode_s: float | None = None
    hit_max: bool | None = None
    error: str | None = None


class Voicer(Protocol):
    """One system under test."""

    @property
    def batch(self) -> int:
        """How many items it says at a time."""
        ...

    def check(self, items: Sequence[Item]) -> None:
        """Raise InputError for anything that can be seen to be wrong before a model loads."""
        ...

    def recipe(self) -> dict[str, Any]:
        """Everything that all of its wavs depend on, ready for JSON."""
        ...

    def inputs(self, item: Item) -> str:
        """Hash of what the wav of `item` depends on besides: texts and sound files."""
        ...

    def load(self) -> None:
        """Load the models, so that a broken one stops the run instead of failing every item."""
        ...

    def say(self, items: Sequence[Item]) -> list[Spoken]:
        """The speech of up to `batch` items, in their order."""
        ...

    def card(self) -> dict[str, Any]:
        """What the report says of the system: kind, source, a model's plan and size."""
        ...


@dataclass
class Recordings:
    """The original recordings of the test set: the floor that the ASR sets."""

    batch: int = 1

    def check(self, items: Sequence[Item]) -> None:
        need_recordings(items)

    def recipe(self) -> dict[str, Any]:
        return {"kind": RECORDINGS}

    def inputs(self, item: Item) -> str:
        return sha256_json([sha256_file(existing(item.recording))])

    def load(self) -> None:
        pass

    def say(self, items: Sequence[Item]) -> list[Spoken]:
        return [self._read(existing(item.recording)) for item in items]

    def _read(self, path: Path) -> Spoken:
        wave, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        return Spoken(wave.mean(axis=1), rate_hz)

    def card(self) -> dict[str, Any]:
        return {"kind": RECORDINGS, "source": "original recordings"}


@dataclass
class Resynthesis:
    """Recording -> tokens -> waveform in the prompt's voice: the ceiling that the codec sets."""

    codec_folder: Path
    device: str
    batch: int = 1

    @cached_property
    def codec(self) -> SpeechCodec:
        try:
            return system_of(self.codec_folder).load_codec(self.codec_folder, self.device)
        except ValueError as error:
            raise InputError(str(error)) from error

    def check(self, items: Sequence[Item]) -> None:
        codec_sha256(self.codec_folder)
        need_recordings(items)
        need_prompts(items, with_text=False)

    def recipe(self) -> dict[str, Any]:
        codec = codec_sha256(self.codec_folder)
        return {"kind": CODEC, "codec_sha256": codec, "code": code_version()}

    def inputs(self, item: Item) -> str:
        files = (existing(item.recording), existing(item.prompt_wav))
        return sha256_json([sha256_file(path) for path in files])

    def load(self) -> None:
        _ = self.codec

    def say(self, items: Sequence[Item]) -> list[Spoken]:
        return [self._resynthesize(item) for item in items]

    @torch.inference_mode()
    def _resynthesize(self, item: Item) -> Spoken:
        rate_hz = self.codec.input_rate_hz
        tokens = self.codec.encode(read_wave(existing(item.recording), rate_hz))
        voice = self.codec.voice(read_wave(existing(item.prompt_wav), rate_hz))
        wave = self.codec.decode(tokens, voice)
        return Spoken(wave.float().cpu().numpy(), self.codec.sample_rate_hz)

    def card(self) -> dict[str, Any]:
        return {
            "kind": CODEC,
            "source": str(self.codec_folder),
            "codec_sha256": codec_sha256(self.codec_folder),
        }


def stable_seed(utterance: str, seed_index: int) -> int:
    """Seed of one utterance, the same on every machine and in any order: 63 bits of a sha256."""
    return int(sha256_bytes(f"{utterance}\n{seed_index}".encode())[:16], 16) >> 1


def read_wave(path: Path, sample_rate_hz: int) -> torch.Tensor:
    """A sound file as a mono waveform (n,) float32 at `sample_rate_hz`."""
    wave, rate_hz = read_original(path)
    if rate_hz != sample_rate_hz:
        resampled = soxr.resample(wave.numpy(), rate_hz, sample_rate_hz)
        wave = torch.from_numpy(np.ascontiguousarray(resampled, dtype=np.float32))
    return wave


def read_original(path: Path) -> tuple[torch.Tensor, int]:
    """A sound file as a mono waveform (n,) float32 and its own rate in Hz."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(np.ascontiguousarray(samples.mean(axis=1), dtype=np.float32)), rate_hz


def codec_sha256(folder: Path) -> str:
    """Hash of the codec's files. Raises InputError when there is no codec."""
    try:
        files = system_of(folder).present(folder)
    except ValueError as error:
        raise InputError(str(error)) from error
    return sha256_json([_known_sha256(path, path.stat().st_mtime_ns) for path in files])


@cache
def code_version(without: tuple[str, ...] = ("mvc", "mvc_tts.py")) -> str:
    """Version and hash of the sources that turn text into speech: all of mamtra but the making of students and
    what lies below the names `without`, such as those of another kind of model."""
    root = Path(mamtra.__file__).parent
    left_out = {"transfer", *without}
    sources = [p for p in sorted(root.rglob("*.py")) if not left_out & {*p.relative_to(root).parts}]
    digests = [[path.relative_to(root).as_posix(), sha256_file(path)] for path in sources]
    return f"mamtra {version('mamtra')} {sha256_json(digests)[:12]}"


@cache
def _known_sha256(path: Path, changed_ns: int) -> str:
    """Hash of a file that is asked for once per sentence; `changed_ns` makes a new version a new key."""
    return sha256_file(path)


def existing(path: Path | None) -> Path:
    """The path of a file that an item names. Raises InputError when it names none."""
    if path is None:
        raise InputError("the item has no such file")
    return path


def need_recordings(items: Sequence[Item]) -> None:
    """Raise InputError unless there are items, each with its original recording."""
    if not items:
        raise InputError("the test set has no original recording for any of these items")


def check_sampling(sampling: Iterable[str], options: Collection[str]) -> None:
    """Raise InputError, listing the `options`, for a key of `sampling` that is none of them."""
    if unknown := set(sampling) - set(options):
        raise InputError(
            f"system.sampling: no such option {', '.join(sorted(unknown))}; valid: "
            f"{', '.join(options)}"
        )


def check_texts(reader: TextFrontend, texts: Iterable[tuple[str, str, bool]]) -> None:
    """Raise InputError, naming the first 20 places, for texts that `reader` cannot read.

    texts: the place, the text, and whether it is read in pieces.
    """
    faults = []
    for place, text, split in texts:
        try:
            for part in reader.pieces(text) if split else [reader.whole(text)]:
                reader.encode(part)
        except ValueError as error:
            faults.append(f"{place}: {error}")
    if faults:
        raise InputError("\n".join(faults[:20]))


def need_prompts(items: Sequence[Item], with_text: bool) -> None:
    """Raise InputError, naming the line, for an item without a prompt wav, or text where asked for."""
    for item in items:
        if item.prompt_wav is None or (with_text and not item.prompt_text):
            raise InputError(
                f"{item.place('prompt_text')}: zero-shot synthesis "
                "needs a prompt wav" + (" and a prompt text" if with_text else "")
            )
