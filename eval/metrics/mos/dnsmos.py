"""DNSMOS P.835 by the speechmos package, whose weights are in its wheel. N samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from eval.metrics.weights import Unavailable, tool

SAMPLE_RATE_HZ = 16_000


class DNSMOS:
    """Overall quality (OVRL) of 16 kHz audio, one clip at a time."""

    @property
    def key(self) -> str:
        """Names everything that a score depends on besides the audio."""
        return f"mos-dnsmos-ovrl-speechmos-{tool('speechmos')}"

    def score(self, wave: np.ndarray) -> float:
        """(N,) float32 mono at 16 kHz -> MOS between 1 and 5.

        Raises:
            Unavailable: the package is missing.
        """
        try:
            from speechmos import dnsmos
        except ModuleNotFoundError as error:
            raise Unavailable(f"mos=dnsmos needs `pip install speechmos`: {error}") from error
        # It refuses samples beyond full scale, which resampling makes of loud speech.
        clipped = np.clip(wave, -1.0, 1.0)
        found: Any = dnsmos.run(clipped, SAMPLE_RATE_HZ)
        return float(found["ovrl_mos"])
