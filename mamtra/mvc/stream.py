"""Reading while the text still comes: a model with a bounded look-ahead, piece by piece, as if all were there.

What is carried over is the state of the Mamba layers, the last inputs of the convolutions, and as many text
tokens as the look-ahead has: as much after an hour as after a sentence. The frames' mean (mu), pitch, voicing
and energy are exact. `mamtra.mvc_stream` puts the flow decoder and the vocoder behind it.

K new text tokens, J new frames at 50 Hz, D d_model.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mamtra.backbone.state import MambaState
from mamtra.mvc.arms import arm_of
from mamtra.mvc.blocks import Block, Stack
from mamtra.mvc.encoders import Prosody
from mamtra.mvc.model import MVC
from mamtra.mvc.rows import regulate
from mamtra.mvc.sizes import TAPS
from mamtra.mvc.voice import Voices

CAUSAL = {"mamba", "none"}


class StackStream:
    """The blocks of one encoder for one row. The first may look ahead: what it says of a token comes as many
    tokens later, and at the end at once."""

    def __init__(self, stack: Stack) -> None:
        self.blocks: list[Block] = list(stack.blocks)  # type: ignore[arg-type]
        self.states: list[list[MambaState]] = [
            block.mixer.new_state()  # type: ignore[operator]
            for block in self.blocks
        ]
        self.waiting: Tensor | None = (
            None  # inputs (1, <= lookahead, D) whose block has not seen enough
        )
        self.last: Tensor | None = None  # (1, 1, D) the newest output of the first block's mixer

    def push(self, x: Tensor, style: Tensor, final: bool) -> Tensor:
        """x (1, K, D) new inputs -> outputs (1, <= K + lookahead, D) that are settled now."""
        for i, block in enumerate(self.blocks):
            y = self._mixed(i, block, x, style)
            x = self._ahead(block.lookahead, x, y, final) if block.lookahead else x + y
        return x

    def _mixed(self, i: int, block: Block, x: Tensor, style: Tensor) -> Tensor:
        if not x.shape[1]:
            return x
        return block.mixer.step(block.injection(x, style), self.states[i])  # type: ignore[operator]

    def _ahead(self, lookahead: int, x: Tensor, y: Tensor, final: bool) -> Tensor:
        """Inputs that wait, each with the output `lookahead` later, or at the end with the last one."""
        if y.shape[1]:
            self.last = y[:, -1:]
        x = x if self.waiting is None else torch.cat((self.waiting, x), dim=1)
        # The newest output belongs to the input `lookahead` before the newest input.
        settled = max(x.shape[1] - lookahead, 0)
        told = y[:, y.shape[1] - settled :]
        ready, rest = x[:, :settled], x[:, settled:]
        if final and rest.shape[1]:
            assert self.last is not None
            ready = torch.cat((ready, rest), dim=1)
            told = torch.cat((told, self.last.expand(-1, rest.shape[1], -1)), dim=1)
            rest = rest[:, :0]
        self.waiting = rest
        return ready + told

    def num_bytes(self) -> int:
        """Bytes that are carried over."""
        held = sum(state.num_bytes() for states in self.states for state in states)
        return held + sum(t.nbytes for t in (self.waiting, self.last) if t is not None)


@dataclass
class Piece:
    """What is settled after some more text: durations (1, K) of its tokens in 10-ms frames, and the prosody of
    its frames; None where no frame is settled."""

    durations: Tensor
    prosody: Prosody | None


class ConditionStream:
    """Conditions on one text that comes in pieces. Raises ValueError for a model that cannot.

    `pace` as in `MVC.speak`. After `push(ids, final=True)` it is used up. A text of fewer than two frames gets
    them as `MVC.durations` has it, in its last piece.
    """

    def __init__(self, model: MVC, voices: Voices, pace: float = 1.0) -> None:
        arm = arm_of(model.arm)
        if model.sizes.lookahead is None or {arm.text, arm.temporal, arm.expressive} - CAUSAL:
            raise ValueError(
                f"conditioning={model.arm} with lookahead={model.sizes.lookahead} cannot read piece by piece: "
                "train a Mamba arm with sizes.lookahead"
            )
        model.check_pace(pace)
        self.model, self.pace = model.eval(), pace
        with torch.inference_mode():
            self.style = model.voice(voices)
        parts = (model.text.stack, model.rhythm.stack, model.expression.stack)
        self.text, self.rhythm, self.expression = map(StackStream, parts)
        self.past: list[Tensor | None] = [None] * len(model.text.convs)  # their newest inputs
        self.spoken = 0  # 10-ms frames until now

    @torch.inference_mode()
    def push(self, ids: list[int], final: bool) -> Piece:
        """The next text tokens; `final`: there are no more of them."""
        x = self.model.text.embedding(torch.tensor([ids], dtype=torch.long))
        h_text = self.text.push(self._convolved(x, final), self.style, final)
        if not h_text.shape[1]:
            return Piece(torch.zeros(1, 0, dtype=torch.long), None)
        rhythm = self.model.rhythm
        h_rhythm = self.rhythm.push(h_text, self.style, final)
        log_durations = rhythm.duration(rhythm.norm(h_rhythm)).squeeze(-1)
        durations = self.model.frames_of(log_durations, self.pace)
        if final and self.spoken + int(durations.sum()) < 2:
            durations[:, 0] = 2
        return Piece(durations, self._prosody(h_text + h_rhythm, durations, final))

    def _convolved(self, x: Tensor, final: bool) -> Tensor:
        """x (1, K, D) -> (1, n, D): what a convolution says of a token comes as many later as it sees ahead."""
        text = self.model.text
        for i, (conv, norm, ahead) in enumerate(
            zip(text.convs, text.norms, text.ahead, strict=True)
        ):
            behind, past = TAPS - 1 - ahead, self.past[i]
            before = F.pad(x[:, :0], (0, 0, behind, 0)) if past is None else past
            inputs = torch.cat((before, x), dim=1)
            if final:
                inputs = F.pad(inputs, (0, 0, 0, ahead))
            count = inputs.shape[1] - (TAPS - 1)
            if count <= 0:
                self.past[i], x = inputs, x[:, :0]
                continue
            self.past[i] = inputs[:, count:]
            told = F.silu(norm(conv(inputs.transpose(1, 2)).transpose(1, 2)))
            x = inputs[:, behind : behind + count] + told
        return x

    def _prosody(self, h: Tensor, durations: Tensor, final: bool) -> Prosody | None:
        """Frames of these tokens. Borders are rounded from the sum of all: an odd 10 ms is rounded up here."""
        odd = self.spoken % 2
        self.spoken += int(durations.sum())
        # A first token of no text holds the half frame that was rounded up before it.
        shifted = F.pad(durations, (1, 0)) if odd else durations
        inputs = F.pad(h, (0, 0, 1, 0)) if odd else h
        if odd:
            shifted[:, 0] = 1
        if int(shifted.sum()) <= odd:
            return None
        u, place, _ = regulate(inputs, shifted)
        u, place = u[:, odd:], place[:, odd:]
        if not u.shape[1]:
            return None
        model = self.model.expression
        u = u + model.place(place)
        expressive = self.expression.push(u, self.style, final)
        return model.heads(expressive, u, self.style)

    def num_bytes(self) -> int:
        """Bytes that are carried over to the next piece."""
        streams = (self.text, self.rhythm, self.expression)
        return sum(s.num_bytes() for s in streams) + sum(
            p.nbytes for p in self.past if p is not None
        )
