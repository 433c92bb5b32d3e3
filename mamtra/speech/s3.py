"""CosyVoice 2's speech tokenizer (S3, v2, 25 Hz) through the s3tokenizer package.

Shapes: n samples at 16 kHz, T tokens.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

SAMPLE_RATE_HZ = 16_000
TOKEN_RATE_HZ = 25.0
CODEBOOK_SIZE = 6561
MAX_SECONDS = 30.0  # the model's window; upstream drops longer audio
ONNX_FILE, TORCH_FILE = "speech_tokenizer_v2.onnx", "speech_tokenizer_v2.pt"
INSTALL = "needs the packages of `pip install -e '.[cosyvoice2]'`"


class S3Tokenizer:
    """16 kHz speech to 25 Hz codes. Rows of a batch do not influence each other."""

    def __init__(self, model: Any, device: torch.device | str = "cpu") -> None:
        """`model`: an `s3tokenizer.S3TokenizerV2`."""
        self._model = model.to(device).eval()
        self._device = torch.device(device)

    @torch.inference_mode()
    def encode(self, waves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """(n,) waveforms at 16 kHz -> (ceil(n / 640),) int64 codes each, up to a frame's rounding.

        Raises ValueError, with the index in the batch, for audio that is not one-dimensional, shorter
        than one token, longer than 30 s, or not finite.
        """
        import s3tokenizer

        for index, wave in enumerate(waves):
            check_wave(wave, f"waveform {index}")
        mels = [s3tokenizer.log_mel_spectrogram(wave.float().cpu()) for wave in waves]
        batch, lengths = s3tokenizer.padding(mels)
        codes, n_codes = self._model.quantize(batch.to(self._device), lengths.to(self._device))
        rows = zip(codes.cpu(), n_codes.tolist(), strict=True)
        return [row[:n].long() for row, n in rows]


class S3OnnxTokenizer:
    """Upstream's own way (cli/frontend.py:95-106): one recording at a time through its ONNX file.

    For exactness: the batched torch model's tokens are the same but for rounding.
    """

    def __init__(self, session: Any) -> None:
        """`session`: an onnxruntime session of `speech_tokenizer_v2.onnx`."""
        self._session = session
        self._names = [given.name for given in session.get_inputs()]
        if len(self._names) != 2:
            raise ValueError(f"a speech tokenizer takes frames and their number, not {self._names}")

    def encode(self, waves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """As `S3Tokenizer.encode`."""
        import s3tokenizer

        codes = []
        for index, wave in enumerate(waves):
            check_wave(wave, f"waveform {index}")
            mel = s3tokenizer.log_mel_spectrogram(wave.float().cpu())[None].numpy()
            inputs = (mel, np.array([mel.shape[2]], dtype=np.int32))
            found = self._session.run(None, dict(zip(self._names, inputs, strict=True)))[0]
            codes.append(torch.from_numpy(found.reshape(-1)).long())
        return codes


def load_s3_onnx(folder: Path) -> S3OnnxTokenizer:
    """The tokenizer of a CosyVoice2-0.5B folder by onnxruntime on the CPU.

    Raises FileNotFoundError, ValueError for a file that is no such model, ModuleNotFoundError.
    """
    path = folder / ONNX_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: it is in the folder CosyVoice2-0.5B")
    return S3OnnxTokenizer(onnx_session(path))


def onnx_session(path: Path) -> Any:
    """An onnxruntime session on one CPU thread. Raises ValueError, ModuleNotFoundError."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{path.name} {INSTALL}: {error}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has its own exception for every kind of damage
        raise ValueError(f"{path}: not an ONNX model ({error})") from None


def check_wave(wave: torch.Tensor, name: str) -> None:
    """ValueError naming what is wrong with a waveform that should be tokenised."""
    if wave.ndim != 1:
        raise ValueError(f"{name} has shape {tuple(wave.shape)}, not (n,)")
    seconds = len(wave) / SAMPLE_RATE_HZ
    if seconds < 1 / TOKEN_RATE_HZ:
        raise ValueError(f"{name} lasts {seconds:.3f} s, less than one token")
    if seconds > MAX_SECONDS:
        raise ValueError(f"{name} lasts {seconds:.1f} s; the tokenizer takes at most 30 s")
    if not bool(torch.isfinite(wave).all()):
        raise ValueError(f"{name} holds NaN or infinite samples")


def load_s3(folder: Path, device: torch.device | str = "cpu") -> S3Tokenizer:
    """The tokenizer of a CosyVoice2-0.5B folder: its ONNX file, or a state dict beside it.

    Raises FileNotFoundError when neither is there and ModuleNotFoundError without s3tokenizer.
    """
    try:
        import s3tokenizer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"speech tokens {INSTALL}: {error}") from error
    if (folder / TORCH_FILE).is_file():
        model = s3tokenizer.S3TokenizerV2("speech_tokenizer_v2_25hz")
        state = torch.load(folder / TORCH_FILE, map_location="cpu", weights_only=True)
        model.load_state_dict(state, strict=True)
        return S3Tokenizer(model, device)
    path = folder / ONNX_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: it is in the folder CosyVoice2-0.5B")
    # The package reads the model's kind from the whole path: a folder called v3 would mislead it.
    model = s3tokenizer.S3TokenizerV2("speech_tokenizer_v2_25hz")
    model.init_from_onnx(str(path))
    return S3Tokenizer(model, device)
