"""MambaVoiceCloning whole: text and a voice to the acoustic frames that the vocoder reads.

No public method takes a mel of what is to be said: the published equations (5) to (9) do, and are here re-read
on regulated text (docs/mvc.md). `LeakyMVC` shows what the literal reading does.

B batch, N text tokens, F frames at 50 Hz (2F at 100 Hz), D d_model, S d_style.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mamtra.mvc.arms import arm_of
from mamtra.mvc.encoders import Prosody, ProsodyEncoder, RhythmEncoder, TextEncoder
from mamtra.mvc.flow_decoder import FlowDecoder
from mamtra.mvc.rows import Rows, regulate, unstack_frames
from mamtra.mvc.sizes import N_STACKED, MVCSizes
from mamtra.mvc.voice import VoiceEncoder, Voices

SURE = 6.0  # voicing logit of the frames that the vocoder learned on
MAX_DURATION = 200  # 10-ms frames of one token: two seconds
LONGEST_S = 600.0  # of one text in one go


@dataclass
class Condition:
    """Everything that the decoder is told, and its rows; `log_durations` (B, N), `style` (B, S)."""

    log_durations: Tensor
    prosody: Prosody
    style: Tensor
    rows: Rows


@dataclass(frozen=True)
class SpokenFrames:
    """frames: of each text (2F, 82) normalised mel, ln(F0 / 130 Hz), voicing logit, at 100 Hz; durations:
    of each text (N,) 10-ms frames of its tokens. Times of the whole batch in seconds: `condition_s` up to
    what the decoder is told, `decode_s` of the decoder."""

    frames: list[Tensor]
    durations: list[Tensor]
    condition_s: float
    decode_s: float


class MVC(nn.Module):
    """`arm`: a key of `mamtra.mvc.arms.ARMS`. Raises ValueError for another, and for `leak`."""

    leaks = False

    def __init__(self, sizes: MVCSizes, arm: str) -> None:
        super().__init__()
        made_of = arm_of(arm)
        if made_of.leak != self.leaks:
            raise ValueError(f"conditioning={arm}: build it with mamtra.mvc.model.build")
        self.sizes, self.arm = sizes, arm
        self.voice = VoiceEncoder(sizes)
        self.text = TextEncoder(made_of, sizes)
        self.rhythm = RhythmEncoder(made_of, sizes)
        self.expression = ProsodyEncoder(made_of, sizes)
        self.decoder = FlowDecoder(sizes)

    def conditioning(self) -> list[nn.Module]:
        """All parts but the decoder: what an arm of the comparison changes."""
        return [self.voice, self.text, self.rhythm, self.expression]

    def read(self, ids: Tensor, lengths: Tensor, style: Tensor) -> tuple[Tensor, Tensor, Rows]:
        """ids (B, N), lengths (B,), style (B, S) -> h_T + h_B (B, N, D), log durations (B, N), rows."""
        rows = Rows.of(lengths, ids.shape[1])
        text = self.text(ids, style, rows)
        rhythm, log_durations = self.rhythm(text, style, rows)
        return text + rhythm, log_durations, rows

    def condition(
        self, ids: Tensor, lengths: Tensor, voices: Voices, durations: Tensor
    ) -> Condition:
        """ids, durations (B, N) int64 in 10-ms frames, 0 on padding; lengths (B,)."""
        return self._condition(ids, lengths, voices, durations, None)

    def _condition(
        self,
        ids: Tensor,
        lengths: Tensor,
        voices: Voices,
        durations: Tensor,
        mel: Tensor | None,
    ) -> Condition:
        style = self.voice(voices)
        h, log_durations, _ = self.read(ids, lengths, style)
        u, place, rows = regulate(h, durations)
        prosody = self.expression(u, place, style, rows, mel)
        return Condition(log_durations, prosody, style, rows)

    @staticmethod
    def check_pace(pace: float) -> None:
        """Raises ValueError for a pace at which nothing can be said."""
        if not (math.isfinite(pace) and pace > 0):
            raise ValueError(f"pace must be a number above 0 (2 is twice as fast), got {pace}")

    def durations(self, log_durations: Tensor, rows: Rows, pace: float = 1.0) -> Tensor:
        """(B, N) int64 frames of 10 ms, 0 on padding; `pace` 2 is twice as fast. A row has at least two."""
        whole = self.frames_of(log_durations, pace) * rows.valid
        short = whole.sum(dim=1) < 2
        whole[:, 0] = torch.where(short, 2, whole[:, 0])
        return whole

    def frames_of(self, log_durations: Tensor, pace: float) -> Tensor:
        """(B, N) log(1 + n) -> n, whole frames of 10 ms."""
        n = (log_durations.float().exp() - 1).clamp(0, MAX_DURATION) / pace
        return n.round().long()

    @torch.inference_mode()
    def speak(
        self,
        texts: Sequence[Sequence[int]],
        voices: Voices,
        seeds: Sequence[int],
        n_steps: int,
        durations: Sequence[Tensor] | None = None,
        pace: float = 1.0,
        temperature: float = 1.0,
    ) -> SpokenFrames:
        """Frames of each text's token ids in the voice of its row, with its own noise.

        temperature: standard deviation of the noise that the decoder starts from (Grad-TTS, 2105.06337, section
        3.4): below 1 it strays less from the mean.
        durations: of each text (N,) int64 10-ms frames, instead of those that the model predicts.
        Raises ValueError for an empty text, a temperature below 0, a pace that is not above 0, durations of
        another number of tokens, and for a text that would take more than LONGEST_S in one go.
        """
        if not (math.isfinite(temperature) and temperature >= 0):
            raise ValueError(f"temperature must not be negative, got {temperature}")
        self.check_pace(pace)
        if not texts or min(map(len, texts)) == 0:
            raise ValueError("a text without tokens cannot be spoken")
        started_s = time.perf_counter()
        device = self.text.embedding.weight.device
        lengths = torch.tensor([len(text) for text in texts], device=device)
        ids = nn.utils.rnn.pad_sequence([torch.tensor(t) for t in texts], batch_first=True)
        style = self.voice(voices.to(device))
        h, log_durations, text_rows = self.read(ids.to(device), lengths, style)
        if durations is None:
            chosen = self.durations(log_durations, text_rows, pace)
        else:
            chosen = _given(durations, texts).to(device)
        seconds = float(chosen.sum(dim=1).max()) / 100
        if seconds > LONGEST_S:
            raise ValueError(f"{seconds:.0f} s in one go are above {LONGEST_S:.0f}: cut the text")
        u, place, rows = regulate(h, chosen)
        prosody = self.expression(u, place, style, rows, None)
        conditioned_s = time.perf_counter()
        noise = temperature * _noise(rows, seeds).to(device)
        parts = (prosody.mu, prosody.told(), style, rows)
        mel = unstack_frames(self.decoder.sample(noise, *parts, n_steps))
        voicing = torch.where(prosody.voicing > 0, SURE, -SURE)
        frames = torch.cat((mel, torch.stack((prosody.log_f0, voicing), dim=-1)), dim=-1).float()
        counts = [2 * n for n in rows.lengths.tolist()]
        return SpokenFrames(
            [row[:n].cpu() for row, n in zip(frames, counts, strict=True)],
            [row[: len(t)].cpu() for row, t in zip(chosen, texts, strict=True)],
            conditioned_s - started_s,
            time.perf_counter() - conditioned_s,
        )


class LeakyMVC(MVC):
    """The arm `leak`: its expressive encoder reads the target, which no speaking can give it.

    `speak` is therefore refused: what remains is `condition_on`, for training and for the measure of how much
    the published equations would have known.
    """

    leaks = True

    def condition(
        self, ids: Tensor, lengths: Tensor, voices: Voices, durations: Tensor
    ) -> Condition:
        """Raises ValueError: there is no conditioning without the target."""
        raise ValueError("conditioning=leak reads the mel that is to be said: use condition_on")

    def condition_on(
        self, ids: Tensor, lengths: Tensor, voices: Voices, durations: Tensor, target: Tensor
    ) -> Condition:
        """As `MVC.condition`, with the target's stacked mel (B, F, 160)."""
        return self._condition(ids, lengths, voices, durations, target)

    def speak(self, *_: object, **__: object) -> SpokenFrames:
        """Raises ValueError."""
        raise ValueError(
            "conditioning=leak cannot speak: its prosody is read off the recording that it is to say"
        )


def build(sizes: MVCSizes, arm: str) -> MVC:
    """The model of an arm. Raises ValueError, listing the arms, for a name that is none."""
    return (LeakyMVC if arm_of(arm).leak else MVC)(sizes, arm)


def _given(durations: Sequence[Tensor], texts: Sequence[Sequence[int]]) -> Tensor:
    for row, (found, text) in enumerate(zip(durations, texts, strict=True)):
        if len(found) != len(text):
            raise ValueError(
                f"text {row} has {len(text)} tokens, its durations are of {len(found)}: they are of "
                "another text or aligner"
            )
    return nn.utils.rnn.pad_sequence([d.long() for d in durations], batch_first=True)


def _noise(rows: Rows, seeds: Sequence[int]) -> Tensor:
    """(B, F, 160) drawn on the CPU from each row's own seed: the same on every device and in every batch."""
    drawn = [
        torch.randn(int(n), N_STACKED, generator=torch.Generator().manual_seed(seed), device="cpu")
        for n, seed in zip(rows.lengths.tolist(), seeds, strict=True)
    ]
    return nn.utils.rnn.pad_sequence(drawn, batch_first=True)
