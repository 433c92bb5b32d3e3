"""GE2E speaker embeddings (1710.10467) through resemblyzer, whose weights come inside its wheel."""

import contextlib
import io
import warnings

import numpy as np
import torch

VOICE_WIDTH = 256
LEVEL_RMS = 10 ** (-30 / 20)


class SpeakerEncoder:
    """(n,) waveform at 16 kHz to a unit-length (256,) embedding. Raises ValueError on silence."""

    def __init__(self) -> None:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            from resemblyzer import VoiceEncoder

            self._encoder = VoiceEncoder("cpu", verbose=False)

    def __call__(self, wave: torch.Tensor) -> torch.Tensor:
        samples = wave.detach().cpu().numpy().astype(np.float32)
        if not np.isfinite(samples).all() or float(np.abs(samples).max(initial=0.0)) < 1e-4:
            raise ValueError("a speaker embedding needs audible, finite audio")
        # The encoder was trained on speech at -30 dBFS; its embedding moves with level otherwise.
        samples = samples * (LEVEL_RMS / float(np.sqrt(np.mean(samples**2))))
        return torch.from_numpy(self._encoder.embed_utterance(samples))
