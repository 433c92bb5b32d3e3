"""Chinese transcripts by Paraformer through FunASR, as seed-tts-eval has them. N samples."""

from __future__ import annotations

import numpy as np

from eval.metrics.weights import Unavailable, file_name, revision, tool

MODEL = "paraformer-zh"


class ParaformerASR:
    """16 kHz Mandarin to text, one clip at a time: its results depend on the batch."""

    def __init__(self, model: str = MODEL, device: str = "cpu") -> None:
        self.model, self.device = model, device
        self._loaded = None

    @property
    def key(self) -> str:
        """Names everything that a transcript depends on besides the audio."""
        used = f"asr-funasr-{tool('funasr')}-{file_name(self.model)}"
        return f"{used}-{revision(self.model, ('*.pt', '*.onnx'))}"

    def transcribe(self, wave: np.ndarray) -> str:
        """(N,) float32 mono at 16 kHz -> the raw transcript.

        Raises:
            Unavailable: FunASR or its weights cannot be had.
        """
        if self._loaded is None:
            try:
                from funasr import AutoModel  # pyright: ignore[reportMissingImports]

                self._loaded = AutoModel(model=self.model, device=self.device, disable_update=True)
            except Exception as error:
                raise Unavailable(
                    f"cannot load {self.model!r}: {error}. `pip install funasr` and let it download "
                    "the model once, or give its folder: asr=paraformer:<folder>"
                ) from error
        return str(self._loaded.generate(input=wave, batch_size_s=300)[0]["text"]).strip()
