"""UTMOS22-strong, the MOS predictor of the paper, by SpeechMOS (no fairseq). N samples."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.mos.opinion import OpinionModel
from eval.metrics.weights import Unavailable, code_sha256

SAMPLE_RATE_HZ = 16_000
ENTRY = "utmos22_strong"
# SpeechMOS v1.2.0, and the weights of its release v1.0.0, which it loads.
COMMIT = "ed25eacbfa42b99156c36ebec67a733b5dbb9b79"
REPOSITORY = f"tarepan/SpeechMOS:{COMMIT}"
WEIGHTS = "utmos22_strong_step7459_v1.pt"
URL = f"https://github.com/tarepan/SpeechMOS/releases/download/v1.0.0/{WEIGHTS}"
SHA256 = "38aa51ab79e2a4e09a1449758a4b37e9cbb2e8235a49662a732d33a9ba1e9bff"
_HOW = f"Without a network: mos=utmos22:<checkout of SpeechMOS at {COMMIT[:7]}, with {WEIGHTS} in it> ({URL})"


@contextmanager
def _without_namesake() -> Iterator[None]:
    """SpeechMOS's package has the name of the one that carries DNSMOS: each sees its own."""

    def named() -> list[str]:
        return [name for name in sys.modules if name.split(".")[0] == "speechmos"]

    aside = {name: sys.modules.pop(name) for name in named()}
    try:
        yield
    finally:
        for name in named():
            del sys.modules[name]
        sys.modules.update(aside)


class UTMOS22(OpinionModel):
    """Scores 16 kHz audio one clip at a time: padding changes its scores.

    `folder`: a checkout of SpeechMOS with the weights in it; None: both from torch.hub's cache or the network.
    """

    def __init__(
        self, folder: str | None = None, device: str = "cpu", sha256: str = SHA256
    ) -> None:
        self.folder, self.device, self.sha256 = folder, device, sha256
        self._network: Any = None

    @property
    def recipe(self) -> dict[str, Any]:
        used = {"tool": "utmos22-strong", "speechmos": COMMIT, "weights": self.sha256[:12]}
        return {**used, "code": code_sha256(__file__)}

    def check(self) -> None:
        if self.folder and not self._weights().is_file():
            raise Unavailable(f"mos=utmos22:{self.folder}: no {WEIGHTS} there. {_HOW}")

    def score(self, wave: np.ndarray) -> float:
        """(N,) float32 mono at 16 kHz -> MOS, about 1 to 5.

        Raises:
            Unavailable: the code or its weights cannot be had, or the weights are others.
        """
        import torch

        if self._network is None:
            self._network = self._load()
        with torch.inference_mode():
            found = self._network(torch.from_numpy(wave).to(self.device)[None], SAMPLE_RATE_HZ)
        return float(found[0])

    def _load(self) -> Any:
        import torch

        place, source = (self.folder, "local") if self.folder else (REPOSITORY, "github")
        try:
            options: dict[str, Any] = {"trust_repo": True, "verbose": False, "pretrained": False}
            with _without_namesake():
                network: Any = torch.hub.load(place, ENTRY, source=source, **options)
            weights = self._weights()
            with weights.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != self.sha256:
                raise ValueError(f"{weights} has the sha256 {found}, not {self.sha256}")
            network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except Exception as error:  # the network, the disk, and the repository's own code
            raise Unavailable(
                f"cannot load UTMOS22 from {place!r}: {type(error).__name__}: {error}. {_HOW}"
            ) from error
        return network.to(self.device).eval()

    def _weights(self) -> Path:
        import torch

        if self.folder:
            return Path(self.folder) / WEIGHTS
        path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(URL, str(path), hash_prefix=self.sha256)
        return path
