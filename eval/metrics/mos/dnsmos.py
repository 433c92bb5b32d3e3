"""DNSMOS P.835 by the speechmos package, whose weights are in its wheel. N samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from eval.metrics.mos.opinion import OpinionModel
from eval.metrics.weights import code_sha256, require, tool

SAMPLE_RATE_HZ = 16_000


class DNSMOS(OpinionModel):
    """Overall quality (OVRL) of 16 kHz audio, one clip at a time."""

    @property
    def recipe(self) -> dict[str, Any]:
        used = {"tool": "dnsmos", "speechmos": tool("speechmos"), "scale": "ovrl"}
        return {**used, "code": code_sha256(__file__)}

    def check(self) -> None:
        require("mos=dnsmos", "speechmos")

    def score(self, wave: np.ndarray) -> float:
        """(N,) float32 mono at 16 kHz -> MOS between 1 and 5.

        Raises:
            Unavailable: the package is missing.
        """
        self.check()
        from speechmos import dnsmos

        # It refuses samples beyond full scale, which resampling makes of loud speech.
        clipped = np.clip(wave, -1.0, 1.0)
        found: Any = dnsmos.run(clipped, SAMPLE_RATE_HZ)
        return float(found["ovrl_mos"])
