"""Text and a prompt in, speech out, by a MambaVoiceCloning model and the codec's vocoder.

    tts = MVCSynthesizer.load("runs/mvc/mvc/mvc", "assets/open")
    spoken = tts.speak("The garden was quiet.", tts.voice(prompt_wave), seed=1)
    soundfile.write("out.wav", spoken.wave.numpy(), tts.sample_rate_hz)

Shapes: n samples, N text tokens.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from mamtra.mvc.folder import load_mvc
from mamtra.mvc.model import MVC
from mamtra.mvc.voice import Voices
from mamtra.seeds import piece_seeds
from mamtra.speech.features import SAMPLE_RATE_HZ, log_mel, normalise
from mamtra.speech.mini_codec import MiniCodec, load_codec
from mamtra.text.phonemes import SYMBOLS, PhonemeTokenizer

N_STEPS = 5  # Euler steps of the decoder
TEMPERATURE = 1.0  # of its noise
REFERENCE_FRAMES = (
    300  # of the prompt's mel, for models that read it: three seconds, as in training
)
SHORTEST_S = 0.5
SILENCE = 0  # id of the word boundary that speaks the silence before a text


@dataclass(frozen=True)
class MVCSynthesis:
    """wave: (n,) float32 at 16 kHz; durations: of each piece of the text the 10-ms frames of its tokens.

    Times in seconds, of a batch its share: text to what the decoder is told, decoder, vocoder.
    """

    wave: torch.Tensor
    durations: list[torch.Tensor] = field(default_factory=list)
    condition_s: float = 0.0
    decode_s: float = 0.0
    vocode_s: float = 0.0


class MVCSynthesizer:
    """A model, and the codec whose vocoder makes its frames sound.

    Raises ValueError for a model of another text than phonemes.
    """

    sample_rate_hz = input_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, model: MVC, codec: MiniCodec) -> None:
        if model.sizes.vocab != len(SYMBOLS):
            raise ValueError(
                f"the model reads {model.sizes.vocab} text tokens, the phonemes are {len(SYMBOLS)}"
            )
        self.model, self.codec, self.tokenizer = model.eval(), codec, PhonemeTokenizer()

    @classmethod
    def load(
        cls, model_folder: str | Path, codec_folder: str | Path, device: str = "cpu"
    ) -> "MVCSynthesizer":
        """Errors as `load_mvc` and `load_codec`."""
        return cls(load_mvc(model_folder, device), load_codec(codec_folder, device))

    @torch.inference_mode()
    def voice(self, wave: torch.Tensor) -> Voices:
        """(n,) prompt at 16 kHz -> one row. Raises ValueError for a silent one or one that is too short."""
        if wave.ndim != 1 or len(wave) < SHORTEST_S * SAMPLE_RATE_HZ:
            raise ValueError(f"a prompt needs at least {SHORTEST_S} s of speech, not {wave.shape}")
        embedding = self.codec.voice(wave)
        mel = normalise(log_mel(wave))[:REFERENCE_FRAMES]
        mel = mel[: len(mel) // 2 * 2]
        return Voices(embedding[None], mel[None], torch.tensor([len(mel)]))

    def pieces(self, text: str, split: bool = True) -> list[list[int]]:
        """Token ids of the parts of a text that are said one after the other; one without `split`.

        Raises ValueError, saying why, for a text that cannot be spoken.
        """
        parts = self.tokenizer.pieces(text) if split else [self.tokenizer.whole(text)]
        return [[SILENCE, *self.tokenizer.encode(part)] for part in parts]

    def speak(self, text: str, voice: Voices, seed: int, **options: Any) -> MVCSynthesis:
        """One text. Raises ValueError for what cannot be spoken."""
        (spoken,) = self.speak_batch([text], [voice], [seed], **options)
        return spoken

    @torch.inference_mode()
    def speak_batch(
        self,
        texts: Sequence[str],
        voices: Sequence[Voices],
        seeds: Sequence[int],
        n_steps: int = N_STEPS,
        temperature: float = TEMPERATURE,
        pace: float = 1.0,
        split: bool = True,
    ) -> list[MVCSynthesis]:
        """Several texts at once, each in its voice and with its own noise, whatever its neighbours are.

        n_steps: Euler steps of the decoder, 0 for its mean alone; temperature: of its noise; pace: 2 speaks
        twice as fast; split: long texts in pieces. Raises ValueError for a text that cannot be spoken.
        """
        parts = [(row, ids) for row, text in enumerate(texts) for ids in self.pieces(text, split)]
        drawn = piece_seeds([row for row, _ in parts], seeds)
        rows = together([voices[row] for row, _ in parts])
        texts_ids = [ids for _, ids in parts]
        made = self.model.speak(texts_ids, rows, drawn, n_steps, pace=pace, temperature=temperature)
        share = 1 / len(parts)
        found: list[list[MVCSynthesis]] = [[] for _ in texts]
        for (row, _), frames, durations in zip(parts, made.frames, made.durations, strict=True):
            started_s = time.perf_counter()
            wave = self.codec.vocode(frames)
            vocode_s = time.perf_counter() - started_s
            times = (share * made.condition_s, share * made.decode_s, vocode_s)
            found[row].append(MVCSynthesis(wave, [durations], *times))
        return [joined(pieces) for pieces in found]


def together(voices: Sequence[Voices]) -> Voices:
    """Rows of one batch; mels are padded to the longest."""
    embedding = torch.cat([voice.embedding for voice in voices])
    mels = [voice.mel[0] for voice in voices if voice.mel is not None]
    if len(mels) < len(voices):
        return Voices(embedding)
    counts = torch.tensor([len(mel) for mel in mels])
    return Voices(embedding, pad_sequence(mels, batch_first=True), counts)


def joined(pieces: Sequence[MVCSynthesis]) -> MVCSynthesis:
    """The pieces of one text, one after the other."""
    return MVCSynthesis(
        torch.cat([piece.wave for piece in pieces]),
        [durations for piece in pieces for durations in piece.durations],
        sum(piece.condition_s for piece in pieces),
        sum(piece.decode_s for piece in pieces),
        sum(piece.vocode_s for piece in pieces),
    )
