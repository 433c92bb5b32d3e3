"""CosyVoice 2's way from speech tokens to a waveform behind the codec interface.

flow matching (tokens -> mel) + HiFT vocoder (mel -> wave) + CAM++ (voice of the prompt) + S3 (tokens of the
prompt). The flow and vocoder modules are those of FlashCosyVoice, as the package
token2wav-cosyvoice-stepaudio2 carries them; this is the only file that imports them.

Two sources of noise are fixed, so that equal tokens give equal speech: the flow starts from the noise that
upstream draws once with seed 0 (flow/flow_matching.py:199-200), and the vocoder's source is seeded.

Rates: 16 kHz in, tokens 25 Hz, mel 50 Hz, 24 kHz out. Shapes: n samples, T tokens, F = 2 T mel frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchaudio

from mamtra.speech.base import Original
from mamtra.speech.s3 import (
    CODEBOOK_SIZE,
    INSTALL,
    TOKEN_RATE_HZ,
    S3Tokenizer,
    load_s3,
    onnx_session,
)
from mamtra.speech.s3 import SAMPLE_RATE_HZ as INPUT_RATE_HZ
from mamtra.speech.streaming import ChunkedFlow

SAMPLE_RATE_HZ = 24_000
FRAMES_PER_TOKEN = 2
SAMPLES_PER_TOKEN = 960
N_MELS, SPEAKER_WIDTH = 80, 192
MAX_FRAMES = 15_000  # of the fixed noise: 300 s of prompt and speech
FLOW, VOCODER, SPEAKER = "flow.pt", "hift.pt", "campplus.onnx"


@dataclass(frozen=True)
class CosyVoice2Voice:
    """What the flow takes from a prompt."""

    tokens: torch.Tensor  # (T,) int64
    mel: torch.Tensor  # (2 T, 80)
    speaker: torch.Tensor  # (192,)


class CosyVoice2Codec:
    """Speech <-> tokens of CosyVoice 2, on one device, one sentence at a time.

    Batches of unequal lengths would leak into each other inside the flow's encoder.
    """

    sample_rate_hz = SAMPLE_RATE_HZ
    input_rate_hz = INPUT_RATE_HZ
    token_rate_hz = TOKEN_RATE_HZ
    codebook_size = CODEBOOK_SIZE

    def __init__(
        self,
        tokenizer: S3Tokenizer,
        flow: Any,
        vocoder: Any,
        speaker: Any,
        device: torch.device | str,
    ) -> None:
        """`flow` and `vocoder` modules as `new_modules` makes them, `speaker` an ONNX session."""
        self._tokenizer, self._speaker = tokenizer, speaker
        self._device = torch.device(device)
        self._flow = flow.to(self._device).eval()
        self._vocoder = vocoder.to(self._device).eval()
        self._flow.decoder = FixedNoise(self._flow.decoder)

    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        """(n,) at 16 kHz -> (T,) int64 tokens. Errors as `S3Tokenizer.encode`."""
        return self._tokenizer.encode([wave])[0]

    def prompt(
        self, wave: torch.Tensor, original: Original | None = None
    ) -> tuple[torch.Tensor, CosyVoice2Voice]:
        """(n,) prompt at 16 kHz -> the tokens that its voice holds, cut to whole frames, and the voice."""
        voice = self.voice(wave, original)
        return voice.tokens, voice

    @torch.inference_mode()
    def voice(self, wave: torch.Tensor, original: Original | None = None) -> CosyVoice2Voice:
        """(n,) prompt at 16 kHz -> its tokens, mel frames and speaker vector.

        The frames are those of `original` at 24 kHz where it is given, as upstream reads the file a second time
        for them; 16 kHz have nothing in the top bands, which are up to 1.4 nats lower then.
        Tokens and frames are cut to the shorter of the two, two frames per token (cli/frontend.py:174-178).
        """
        from stepaudio2.flashcosyvoice.utils.audio import mel_spectrogram

        tokens = self.encode(wave)
        source, rate_hz = original or (wave, INPUT_RATE_HZ)
        resampled = torchaudio.transforms.Resample(rate_hz, SAMPLE_RATE_HZ)(source[None].float())
        mel = mel_spectrogram(resampled)[0].T  # (F, 80)
        n = min(len(mel) // FRAMES_PER_TOKEN, len(tokens))
        return CosyVoice2Voice(tokens[:n], mel[: FRAMES_PER_TOKEN * n], self._speaker_vector(wave))

    def _speaker_vector(self, wave: torch.Tensor) -> torch.Tensor:
        """(192,) CAM++ embedding (cli/frontend.py:108-118)."""
        fbank = torchaudio.compliance.kaldi.fbank
        features = fbank(
            wave[None].float(), num_mel_bins=N_MELS, dither=0, sample_frequency=INPUT_RATE_HZ
        )
        features = features - features.mean(dim=0, keepdim=True)
        name = self._speaker.get_inputs()[0].name
        vector = self._speaker.run(None, {name: features[None].numpy()})[0]
        return torch.from_numpy(vector).reshape(-1)

    @torch.inference_mode()
    def mel(self, tokens: torch.Tensor, voice: CosyVoice2Voice, final: bool = True) -> torch.Tensor:
        """(T,) tokens -> (80, 2 T) mel frames in the prompt's voice. ValueError when they are too many.

        Not `final`: the frames of all but the last three tokens, with attention limited to chunks.
        """
        whole = torch.cat((voice.tokens, tokens))[None].to(self._device)
        if whole.shape[1] * FRAMES_PER_TOKEN > MAX_FRAMES:
            raise ValueError(
                f"{whole.shape[1]} tokens of prompt and speech: the flow takes at most "
                f"{MAX_FRAMES // FRAMES_PER_TOKEN}"
            )
        n_prompt = len(voice.mel)
        mel, _ = self._flow(
            whole,
            torch.tensor([whole.shape[1]], device=self._device),
            voice.mel[None].to(self._device),
            torch.tensor([n_prompt], device=self._device),
            voice.speaker[None].to(self._device),
            streaming=not final,
            finalize=final,
        )
        return mel[0, :, n_prompt:]

    @torch.inference_mode()
    def decode(self, tokens: torch.Tensor, voice: CosyVoice2Voice) -> torch.Tensor:
        """(T,) tokens -> (960 T,) waveform at 24 kHz, in [-0.99, 0.99].

        Raises ValueError for a token outside the codebook; no tokens give no samples.
        """
        if not tokens.numel():
            return torch.zeros(0)
        if not 0 <= int(tokens.min()) <= int(tokens.max()) < self.codebook_size:
            raise ValueError(f"speech tokens must lie in 0..{self.codebook_size - 1}")
        return self._vocode(self.mel(tokens.long(), voice), torch.zeros(1, 1, 0))[0]

    def stream(self, voice: CosyVoice2Voice) -> ChunkedFlow:
        """Decodes a sentence in chunks of a second while its tokens are drawn."""
        return ChunkedFlow(
            lambda tokens, final: self.mel(tokens, voice, final),
            self._vocode,
            len(voice.tokens),
            FRAMES_PER_TOKEN,
            SAMPLES_PER_TOKEN // FRAMES_PER_TOKEN,
        )

    @torch.inference_mode()
    def _vocode(self, mel: torch.Tensor, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(80, F) mel and the first samples (1, 1, m) of its harmonic source -> (480 F,) and the source."""
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(0)  # the harmonic source draws phases and noise
            wave, source = self._vocoder(speech_feat=mel[None], cache_source=source)
        return wave[0].float().cpu(), source


class FixedNoise(torch.nn.Module):
    """The flow's decoder, started from upstream's fixed noise instead of a new draw."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder
        generator = torch.Generator().manual_seed(0)
        self.register_buffer(
            "noise", torch.randn(1, N_MELS, MAX_FRAMES, generator=generator), persistent=False
        )

    def forward(
        self,
        mu: torch.Tensor,
        mask: torch.Tensor,
        n_timesteps: int,
        temperature: float = 1.0,
        spks: torch.Tensor | None = None,
        cond: torch.Tensor | None = None,
        streaming: bool = False,
    ) -> tuple[torch.Tensor, None]:
        """As the decoder's own forward: mu (1, 80, F) -> mel (1, 80, F). Cosine time steps."""
        start = self.noise[:, :, : mu.shape[2]].to(mu) * temperature  # type: ignore[index]
        times = torch.linspace(0, 1, n_timesteps + 1, device=mu.device, dtype=mu.dtype)
        times = 1 - torch.cos(times * 0.5 * torch.pi)
        solve = self.decoder.solve_euler
        return solve(start, times, mu, mask, spks, cond, streaming=streaming), None


def new_modules() -> tuple[Any, Any]:
    """(flow, vocoder) in CosyVoice 2's geometry with fresh weights.

    Raises ModuleNotFoundError, saying what to install.
    """
    try:
        from stepaudio2.flashcosyvoice.modules.flow import CausalMaskedDiffWithXvec
        from stepaudio2.flashcosyvoice.modules.hifigan import HiFTGenerator
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"the vocoder {INSTALL}: {error}") from error
    return CausalMaskedDiffWithXvec(), HiFTGenerator()


def load_cosyvoice2(folder: str | Path, device: torch.device | str = "cpu") -> CosyVoice2Codec:
    """The codec of a CosyVoice2-0.5B folder.

    Raises FileNotFoundError naming what is missing, ValueError for a folder of CosyVoice 1 or 3, a
    git-lfs pointer, or weights of another geometry (naming tensors), ModuleNotFoundError without the
    packages.
    """
    folder = Path(folder)
    check_folder(folder)
    tokenizer = load_s3(folder, device)
    flow, vocoder = new_modules()
    _load(flow, folder / FLOW, "")
    _load(vocoder, folder / VOCODER, "generator.")
    return CosyVoice2Codec(tokenizer, flow, vocoder, onnx_session(folder / SPEAKER), device)


def check_folder(folder: Path) -> None:
    """Errors of `load_cosyvoice2` that can be seen without loading anything."""
    for version, file in (("1", "speech_tokenizer_v1.onnx"), ("3", "speech_tokenizer_v3.onnx")):
        if (folder / file).exists():
            raise ValueError(f"{folder} holds {file}: it is CosyVoice {version}, not CosyVoice 2")
    for name in (FLOW, VOCODER, SPEAKER):
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: it is in the folder CosyVoice2-0.5B")
        with path.open("rb") as stream:
            if stream.read(64).startswith(b"version https://git-lfs"):
                raise ValueError(f"{path}: a git-lfs pointer, not the weights; run `git lfs pull`")


def _load(module: torch.nn.Module, path: Path, prefix: str) -> None:
    """Strict loading of an upstream checkpoint into a module; `prefix` is dropped from its names."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling damage raises every kind of exception
        raise ValueError(f"{path}: not a checkpoint that can be read safely ({error})") from None
    tensors = {k.replace(prefix, ""): v for k, v in stored.items() if torch.is_tensor(v)}
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{path}: {_first_lines(str(error).splitlines())}") from None


def _first_lines(lines: Sequence[str], shown: int = 4) -> str:
    return " ".join(line.strip()[:300] for line in lines[:shown])
