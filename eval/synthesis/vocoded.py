"""Recordings through the vocoder alone: `vocoder` with their own pitch, `flat` with one pitch a sentence.

The floor and the ceiling of prosody: true mels and durations in both, so that they differ in pitch alone.

Shapes: n samples, F frames at 100 Hz.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eval.metrics.prosody.pitch import F0_MAX_HZ, F0_MIN_HZ, nccf
from eval.store.files import InputError, sha256_file, sha256_json
from eval.synthesis.systems import (
    Spoken,
    code_version,
    codec_sha256,
    existing,
    need_recordings,
    read_wave,
)
from eval.testset import Item
from mamtra.mvc.model import SURE
from mamtra.speech.features import F0_CENTRE_HZ, HOP, log_mel, normalise
from mamtra.speech.mini_codec import MiniCodec, load_codec
from mamtra.systems import MINI, system_of

VOCODER, FLAT = "vocoder", "flat"
FINER = 2  # frames of the tracker for one of the vocoder


@dataclass
class Vocoded:
    """`kind`: VOCODER or FLAT."""

    codec_folder: Path
    device: str
    kind: str
    batch: int = 1

    @cached_property
    def codec(self) -> MiniCodec:
        try:
            return load_codec(self.codec_folder, self.device)
        except (ValueError, FileNotFoundError) as error:
            raise InputError(str(error)) from error

    def check(self, items: Sequence[Item]) -> None:
        codec_sha256(self.codec_folder)
        if (system := system_of(self.codec_folder)) is not MINI:
            raise InputError(f"model={self.kind}: {system.name} has no vocoder of acoustic frames")
        need_recordings(items)

    def recipe(self) -> dict[str, Any]:
        codec = codec_sha256(self.codec_folder)
        return {"kind": self.kind, "codec_sha256": codec, "code": code_version()}

    def inputs(self, item: Item) -> str:
        return sha256_json([sha256_file(existing(item.recording))])

    def load(self) -> None:
        _ = self.codec

    def say(self, items: Sequence[Item]) -> list[Spoken]:
        return [self._through(existing(item.recording)) for item in items]

    def _through(self, path: Path) -> Spoken:
        wave = read_wave(path, self.codec.sample_rate_hz)
        if len(wave) < HOP:
            raise ValueError(f"{path} is shorter than a frame")
        frames = acoustic_frames(wave, self.kind == FLAT)
        return Spoken(self.codec.vocode(frames).numpy(), self.codec.sample_rate_hz)

    def card(self) -> dict[str, Any]:
        codec = codec_sha256(self.codec_folder)
        return {"kind": self.kind, "source": str(self.codec_folder), "codec_sha256": codec}


def acoustic_frames(wave: torch.Tensor, flat: bool) -> torch.Tensor:
    """(n,) waveform -> (F, 82) what the vocoder reads; flat: with the mean of ln F0 in every frame."""
    mel = normalise(log_mel(wave))
    hz = nccf(wave.numpy())[::FINER]
    hz = np.pad(hz, (0, max(0, len(mel) - len(hz))))[: len(mel)]
    voiced = np.flatnonzero(hz)
    log_f0 = np.zeros(len(mel))
    if len(voiced):
        known = np.log(np.clip(hz[voiced], F0_MIN_HZ, F0_MAX_HZ) / F0_CENTRE_HZ)
        log_f0 = np.interp(np.arange(len(mel)), voiced, known)
        log_f0 = np.full(len(mel), known.mean()) if flat else log_f0
    voicing = np.where(hz > 0, SURE, -SURE)
    rest = torch.from_numpy(np.stack((log_f0, voicing), axis=1)).to(mel)
    return torch.cat((mel, rest), dim=1)
