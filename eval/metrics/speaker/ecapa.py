"""Speaker similarity by SpeechBrain's ECAPA-TDNN (VoxCeleb). N samples, E = 192 embedding width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.speaker.encoder import SpeakerEncoder
from eval.metrics.weights import Unavailable, code_sha256, require, revision, tool

SOURCE = "speechbrain/spkrec-ecapa-voxceleb"
_HOW = f"Give its folder, speaker=ecapa:<folder>, or let {SOURCE} be downloaded once: speaker=ecapa"


class ECAPASpeaker(SpeakerEncoder):
    """Embeds 16 kHz audio one clip at a time. `source`: a name on the hub or a folder with hyperparams.yaml."""

    def __init__(self, source: str = SOURCE, device: str = "cpu") -> None:
        self.source, self.device = source, device
        self._encoder = None
        self._revision = revision(source, ("embedding_model.ckpt",))

    @property
    def recipe(self) -> dict[str, Any]:
        used = {"tool": "ecapa", "speechbrain": tool("speechbrain"), "weights": self._revision}
        return {**used, "source": Path(self.source).name, "code": code_sha256(__file__)}

    def check(self) -> None:
        require("speaker=ecapa", "speechbrain")
        if self.source != SOURCE and not Path(self.source, "hyperparams.yaml").is_file():
            raise Unavailable(
                f"cannot load ECAPA from {self.source!r}: no hyperparams.yaml. {_HOW}"
            )

    def embed(self, wave: np.ndarray) -> np.ndarray:
        """(N,) float32 mono at 16 kHz -> (E,) float32 of length 1.

        Raises:
            Unavailable: SpeechBrain or its weights cannot be had.
        """
        import torch

        if self._encoder is None:
            self._encoder = self._load()
        with torch.inference_mode():
            found = self._encoder.encode_batch(torch.from_numpy(wave)[None]).reshape(-1).cpu()
        return (found / found.norm()).numpy()

    def _load(self):
        try:
            from speechbrain.inference.speaker import EncoderClassifier

            options = {"source": self.source, "run_opts": {"device": self.device}}
            encoder = EncoderClassifier.from_hparams(**options)
        except Exception as error:
            raise Unavailable(f"cannot load ECAPA from {self.source!r}: {error}. {_HOW}") from error
        if encoder is None:
            raise Unavailable(f"{self.source!r} holds no speaker encoder")
        return encoder
