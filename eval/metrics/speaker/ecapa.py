"""Speaker similarity by SpeechBrain's ECAPA-TDNN (VoxCeleb). N samples, E = 192 embedding width."""

from __future__ import annotations

import numpy as np

from eval.metrics.weights import Unavailable, file_name, revision, tool

SOURCE = "speechbrain/spkrec-ecapa-voxceleb"


class ECAPASpeaker:
    """Embeds 16 kHz audio one clip at a time. `source`: a name on the hub or a folder with hyperparams.yaml."""

    def __init__(self, source: str = SOURCE, device: str = "cpu") -> None:
        self.source, self.device = source, device
        self._encoder = None
        self._revision = revision(source, ("embedding_model.ckpt",))

    @property
    def key(self) -> str:
        """Names everything that an embedding depends on besides the audio."""
        used = f"speaker-ecapa-speechbrain-{tool('speechbrain')}"
        return f"{used}-{file_name(self.source)}-{self._revision}"

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
            raise Unavailable(
                f"cannot load ECAPA from {self.source!r}: {error}. `pip install speechbrain` and give a "
                f"folder: speaker=ecapa=<folder>, or let {SOURCE} be downloaded once"
            ) from error
        if encoder is None:
            raise Unavailable(f"{self.source!r} holds no speaker encoder")
        return encoder
