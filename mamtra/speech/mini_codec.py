"""The mini system's codec: tokenizer, decoder and vocoder behind the `SpeechCodec` interface.

On disk: `codec.safetensors` (half precision) and `codec.json` (sizes and provenance) in one folder.
Shapes: n samples at 16 kHz, T tokens at 25 Hz, E width of the GE2E embedding.
"""

import json
import os
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mamtra.speech.base import Original
from mamtra.speech.codec import FRAMES_PER_TOKEN, CodecNetwork
from mamtra.speech.features import HOP, SAMPLE_RATE_HZ, log_mel, normalise
from mamtra.speech.speaker import SpeakerEncoder
from mamtra.speech.streaming import WholeSentence
from mamtra.speech.vocoder import Vocoder
from mamtra.weights_file import save_tensors

SAMPLES_PER_TOKEN = FRAMES_PER_TOKEN * HOP
WEIGHTS, SIZES = "codec.safetensors", "codec.json"


class MiniCodec(torch.nn.Module):
    """Speech <-> tokens. `encode` and `decode` are deterministic: the noise source has a fixed seed."""

    sample_rate_hz = input_rate_hz = SAMPLE_RATE_HZ
    token_rate_hz = SAMPLE_RATE_HZ / SAMPLES_PER_TOKEN

    def __init__(self, network: CodecNetwork, vocoder: Vocoder) -> None:
        super().__init__()
        self.network = network
        self.vocoder = vocoder
        self.codebook_size = network.codebook_size

    @property
    def device(self) -> torch.device:
        """Where the networks are. Tokens, voices and waveforms go in from anywhere and come out on the CPU."""
        return self.vocoder.window.device

    @cached_property
    def _speaker(self) -> SpeakerEncoder:
        return SpeakerEncoder()

    def voice(self, wave: torch.Tensor, original: Original | None = None) -> torch.Tensor:
        """(n,) waveform to its (E,) GE2E embedding, which needs no more than 16 kHz. ValueError on silence."""
        return self._speaker(wave)

    def prompt(
        self, wave: torch.Tensor, original: Original | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(n,) waveform to its (T,) tokens and (E,) embedding."""
        return self.encode(wave), self.voice(wave)

    @torch.inference_mode()
    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        """(n,) waveform to (ceil(n / 640),) int64 tokens; the last token is zero-padded."""
        if wave.ndim != 1 or wave.numel() == 0:
            raise ValueError(f"expected a non-empty (n,) waveform, got shape {tuple(wave.shape)}")
        wave = torch.nn.functional.pad(wave, (0, -wave.shape[0] % SAMPLES_PER_TOKEN))
        mel = normalise(log_mel(wave.to(self.device))).unsqueeze(0)
        quantised = self.network.tokenizer(mel, torch.ones(mel.shape[:2], device=self.device))
        return self.network.tokenizer.fsq.to_codes(quantised)[0].cpu()

    @torch.inference_mode()
    def decode(self, tokens: torch.Tensor, voice: torch.Tensor) -> torch.Tensor:
        """(T,) tokens and an (E,) embedding to a (640 T,) waveform in [-1, 1]."""
        if tokens.numel() and not (
            0 <= int(tokens.min()) <= int(tokens.max()) < self.codebook_size
        ):
            raise ValueError(f"speech tokens must lie in 0..{self.codebook_size - 1}")
        if tokens.numel() == 0:
            return torch.zeros(0, device="cpu")
        tokens, voice = tokens.to(self.device), voice.to(self.device)
        codes = self.network.tokenizer.fsq.from_codes(tokens).unsqueeze(0)
        mask = torch.ones(codes.shape[:2], device=self.device)
        return self.vocode(self.network.decoder(codes, voice.unsqueeze(0), mask)[0])

    @torch.inference_mode()
    def vocode(self, frames: torch.Tensor) -> torch.Tensor:
        """(F, 82) acoustic frames at 100 Hz to a (160 F,) waveform in [-1, 1], whoever made them."""
        # Drawn on the CPU: the same noise on every device.
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(1, len(frames) * HOP, generator=generator, device="cpu")
        sound = self.vocoder(frames[None].float().to(self.device), noise.to(self.device))
        return sound[0].clamp(-1.0, 1.0).cpu()

    def stream(self, voice: torch.Tensor) -> WholeSentence:
        """Its decoder sees the whole sentence: all samples come at the end."""
        return WholeSentence(lambda tokens: self.decode(tokens, voice))


def save_codec(
    folder: Path, codec: MiniCodec, sizes: dict, provenance: dict, text: str = "characters"
) -> None:
    """Writes weights in half precision and sizes; each file whole or not at all.

    text: which tokenizer goes with the codec's language models, a key of `mamtra.systems.MINI_TEXTS`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.half().contiguous() for name, t in codec.state_dict().items()}
    save_tensors(tensors, folder / (WEIGHTS + ".partial"))
    os.replace(folder / (WEIGHTS + ".partial"), folder / WEIGHTS)
    about = json.dumps({"sizes": sizes, "text": text, "provenance": provenance}, indent=1)
    (folder / (SIZES + ".partial")).write_text(about)
    os.replace(folder / (SIZES + ".partial"), folder / SIZES)


def read_text_name(folder: Path) -> str:
    """What `save_codec` was told of the text; "characters" in files from before there was a choice."""
    return json.loads((folder / SIZES).read_text()).get("text", "characters")


def load_codec(folder: Path | str, device: torch.device | str = "cpu") -> MiniCodec:
    """The codec in `folder`, in fp32 and evaluation mode, its networks on `device`.

    Raises FileNotFoundError for a missing file and ValueError, naming file and tensor, for a wrong one.
    """
    folder = Path(folder)
    for name in (WEIGHTS, SIZES):
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder / name} is missing: not an exported codec folder")
    try:
        sizes = json.loads((folder / SIZES).read_text())["sizes"]
        network = {**sizes["network"], "levels": tuple(sizes["network"]["levels"])}
        codec = MiniCodec(CodecNetwork(**network), Vocoder(**sizes["vocoder"]))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder / SIZES} does not describe a codec: {error}") from error
    try:
        stored = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS} is not a safetensors file: {error}") from error
    wanted = codec.state_dict()
    if wrong := sorted(wanted.keys() ^ stored.keys()):
        raise ValueError(f"{folder / WEIGHTS}: missing or extra tensor {wrong[0]}")
    codec.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
    return codec.to(device).eval()
