"""Speech while the text still comes: conditioning, decoder and vocoder of MambaVoiceCloning piece by piece.

    stream = SpeechStream(tts, tts.voice(prompt_wave), seed=1)
    for ids in pieces_of_text_tokens:
        play(stream.push(ids))
    play(stream.push([], final=True))

Needs a model with a bounded look-ahead (`sizes.lookahead`). What is carried over does not grow with the text.
"""

import torch

from mamtra.mvc.decoder_stream import DecoderStream
from mamtra.mvc.model import SURE
from mamtra.mvc.rows import unstack_frames
from mamtra.mvc.stream import ConditionStream
from mamtra.mvc.voice import Voices
from mamtra.mvc_tts import N_STEPS, TEMPERATURE, MVCSynthesizer
from mamtra.speech.features import HOP
from mamtra.speech.vocoder_stream import VocoderStream

AHEAD = 16  # frames at 50 Hz that the decoder waits for


class SpeechStream:
    """One utterance of one voice. Errors as `ConditionStream`; used up after `push(..., final=True)`."""

    def __init__(
        self,
        synthesizer: MVCSynthesizer,
        voice: Voices,
        seed: int,
        n_steps: int = N_STEPS,
        temperature: float = TEMPERATURE,
        pace: float = 1.0,
        ahead: int | None = AHEAD,
    ) -> None:
        model = synthesizer.model
        self.condition = ConditionStream(model, voice, pace)
        style, decoder = self.condition.style, model.decoder
        self.decoder = DecoderStream(decoder, style, seed, n_steps, ahead, temperature)
        self.vocoder = VocoderStream(synthesizer.codec.vocoder)
        # As `MiniCodec.vocode` draws it.
        self.noise = torch.Generator().manual_seed(0)
        self.waiting: torch.Tensor | None = (
            None  # (1, T, 2) ln F0 and voicing of frames that are still decoded
        )

    @torch.inference_mode()
    def push(self, ids: list[int], final: bool = False) -> torch.Tensor:
        """The next text tokens, of the first piece with `mamtra.mvc_tts.SILENCE` before them -> (n,) samples at
        16 kHz that are settled now, in [-1, 1]."""
        prosody = self.condition.push(ids, final).prosody
        if prosody is None:
            if self.waiting is None or not final:
                return torch.zeros(0)
            mel = self.decoder.finish()
        else:
            voicing = torch.where(prosody.voicing > 0, SURE, -SURE)
            source = torch.stack((prosody.log_f0, voicing), dim=-1)
            self.waiting = source if self.waiting is None else torch.cat((self.waiting, source), 1)
            mel = self.decoder.push(prosody.mu, prosody.told(), final)
        mel = unstack_frames(mel)
        count = mel.shape[1]
        assert self.waiting is not None
        told, self.waiting = self.waiting[:, :count], self.waiting[:, count:]
        noise = torch.randn(1, count * HOP, generator=self.noise, device="cpu")
        frames = torch.cat((mel, told), dim=-1).float()
        return self.vocoder.push(frames, noise, final).clamp(-1.0, 1.0).cpu()

    def num_bytes(self) -> int:
        """Bytes that are carried over to the next piece."""
        parts = (self.condition, self.decoder, self.vocoder)
        return sum(part.num_bytes() for part in parts)
