"""The vocoder while frames still come: what it says piece by piece is what it says of the whole.

A sample depends on the frames CONTEXT to either side and on nothing else but the phase of the pulses, which is
carried over. So a piece is the middle of a window that reaches CONTEXT further: what is kept does not grow.

Shapes: J new frames at 100 Hz, n samples at 16 kHz.
"""

import torch
from torch import Tensor

from mamtra.speech.codec import N_ACOUSTIC
from mamtra.speech.features import HOP
from mamtra.speech.vocoder import Vocoder, per_sample, pitch_of, pulses

# Of six blocks of three taps and an inlet of five 8 frames; of the two windows of 512 samples 1.6 each.
CONTEXT = 12


class VocoderStream:
    """One utterance. Not thread-safe. The vocoder's depth has to fit CONTEXT; ValueError where it does not."""

    def __init__(self, vocoder: Vocoder) -> None:
        if len(vocoder.blocks) + 2 + 4 > CONTEXT:
            raise ValueError(
                f"a vocoder of {len(vocoder.blocks)} blocks sees beyond {CONTEXT} frames"
            )
        self.vocoder = vocoder.eval()
        device = vocoder.window.device
        self.frames = torch.zeros(1, 0, N_ACOUSTIC, device=device)  # from frame `first` on
        self.noise = torch.zeros(1, 0, device=device)
        self.train = torch.zeros(1, 0, device=device)
        self.first = 0
        self.said = 0  # frames whose samples are out
        self.phase: Tensor | float = 0.0

    @torch.inference_mode()
    def push(self, frames: Tensor, noise: Tensor, final: bool = False) -> Tensor:
        """frames (1, J, 82), noise (1, J * HOP) of unit variance -> (n,) samples that are settled now.

        `final`: no more come. Raises ValueError for noise of another length.
        """
        if noise.shape[1] != frames.shape[1] * HOP:
            raise ValueError(
                f"{frames.shape[1]} frames need {frames.shape[1] * HOP} samples of noise"
            )
        self.frames = torch.cat((self.frames, frames.to(self.frames)), dim=1)
        self.noise = torch.cat((self.noise, noise.to(self.noise)), dim=1)
        known = self._extend(final)
        settled = known if final else max(known - CONTEXT, self.said)
        if settled == self.said:
            return torch.zeros(0, device=self.noise.device)
        held = known - self.first
        wave = self.vocoder.filtered(
            self.frames[:, :held], self.train[:, : held * HOP], self.noise[:, : held * HOP]
        )
        start = (self.said - self.first) * HOP
        made = wave[0, start : start + (settled - self.said) * HOP]
        self.said = settled
        self._forget()
        return made

    def _extend(self, final: bool) -> int:
        """Pulses as far as pitch is known; returns the frame they reach. That of a frame needs the next one."""
        before = self.first + self.train.shape[1] // HOP
        until = self.first + self.frames.shape[1] - (0 if final else 1)
        if until <= before:
            return before
        # One frame to either side, where there is one: beyond the ends pitch stays as it is.
        low = max(before - 1, self.first)
        hz = per_sample(pitch_of(self.frames[:, low - self.first :]))
        start = (before - low) * HOP
        new, self.phase = pulses(hz[:, start : start + (until - before) * HOP], self.phase)
        self.train = torch.cat((self.train, new), dim=1)
        return until

    def _forget(self) -> None:
        cut = max(self.said - CONTEXT - self.first, 0)
        self.frames = self.frames[:, cut:].clone()
        self.noise, self.train = (x[:, cut * HOP :].clone() for x in (self.noise, self.train))
        self.first += cut

    def num_bytes(self) -> int:
        """Bytes that are carried over."""
        return self.frames.nbytes + self.noise.nbytes + self.train.nbytes + 8
