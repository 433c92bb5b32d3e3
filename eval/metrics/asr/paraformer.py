"""Chinese transcripts by Paraformer through FunASR, as seed-tts-eval has them. N samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.asr.recogniser import Recogniser
from eval.metrics.weights import Unavailable, code_sha256, require, revision, tool

MODEL = "paraformer-zh"


class ParaformerASR(Recogniser):
    """16 kHz Mandarin to text, one clip at a time: its results depend on the batch."""

    def __init__(self, model: str = MODEL, device: str = "cpu") -> None:
        self.model, self.device = model, device
        self._loaded: Any = None
        self._revision = revision(model, ("*.pt", "*.onnx"))

    @property
    def recipe(self) -> dict[str, Any]:
        return {
            "tool": "funasr",
            "version": tool("funasr"),
            "model": Path(self.model).name,
            "weights": self._revision,
            "decoding": {"batch_size_s": 300, "clips": 1},
            "language": "zh",
            "code": code_sha256(__file__),
        }

    def check(self) -> None:
        require("asr=paraformer", "funasr", extra="zh")
        if self.model != MODEL and not Path(self.model).is_dir():
            raise Unavailable(f"asr=paraformer:{self.model}: no such folder")

    def transcribe(self, wave: np.ndarray) -> str:
        if self._loaded is None:
            try:
                from funasr import AutoModel  # pyright: ignore[reportMissingImports]

                self._loaded = AutoModel(model=self.model, device=self.device, disable_update=True)
            except Exception as error:
                raise Unavailable(
                    f"cannot load {self.model!r}: {error}. Install it, pip install 'mamtra[zh]', and let "
                    "it download the model once, or give its folder: asr=paraformer:<folder>"
                ) from error
        return str(self._loaded.generate(input=wave, batch_size_s=300)[0]["text"]).strip()
