"""The flow decoder while frames still come, with a bounded look-ahead in frames.

A frame of the whole decoder depends on `reach` frames to either side for each Euler step. A stream sees as many
of the past as that takes, so nothing is lost behind, and `ahead` of the future: with as many there it says what
the whole decoder says; with fewer a close relative, whose distance is measured and not assumed. Without Euler
steps (`n_steps=0`) it is the mean, exactly.

J new frames at 50 Hz, C = 160 stacked mel channels, P = 6 prosody channels, S d_style.
"""

import torch
from torch import Tensor

from mamtra.mvc.flow_decoder import KERNEL, FlowDecoder
from mamtra.mvc.rows import Rows
from mamtra.mvc.sizes import N_STACKED


def reach(decoder: FlowDecoder) -> int:
    """Frames to either side that one Euler step sees."""
    return sum(block.conv.dilation[0] * (KERNEL // 2) for block in decoder.blocks)  # type: ignore[union-attr,operator]


class DecoderStream:
    """One utterance. `ahead`: frames at 50 Hz that have to be there beyond what is decoded; None for all that
    the steps see. The noise is drawn frame by frame from one generator, as `MVC.speak` draws it."""

    def __init__(
        self,
        decoder: FlowDecoder,
        style: Tensor,
        seed: int,
        n_steps: int,
        ahead: int | None = None,
        temperature: float = 1.0,
    ) -> None:
        if ahead is not None and ahead < 0:
            raise ValueError(f"ahead must not be negative, got {ahead}")
        self.decoder, self.style, self.n_steps = decoder.eval(), style, n_steps
        self.temperature = temperature
        self.behind = n_steps * reach(decoder)
        self.ahead = self.behind if ahead is None else min(ahead, self.behind)
        self.generator = torch.Generator().manual_seed(seed)
        self.held: Tensor | None = (
            None  # (1, T, C + C + P): noise, mu, prosody from frame `first` on
        )
        self.first = 0
        self.said = 0

    @torch.inference_mode()
    def push(self, mu: Tensor, prosody: Tensor, final: bool = False) -> Tensor:
        """mu (1, J, C), prosody (1, J, P) -> (1, n, C) frames that are settled now; `final`: no more come."""
        noise = torch.randn(mu.shape[1], N_STACKED, generator=self.generator, device="cpu")
        new = torch.cat((self.temperature * noise[None].to(mu), mu, prosody), dim=-1)
        self.held = new if self.held is None else torch.cat((self.held, new), dim=1)
        return self._settle(final)

    @torch.inference_mode()
    def finish(self) -> Tensor:
        """(1, n, C) frames that waited for others, which do not come. Raises ValueError without any."""
        if self.held is None:
            raise ValueError("a stream without frames has no end")
        return self._settle(final=True)

    def _settle(self, final: bool) -> Tensor:
        """(1, n, C) of the frames that are held."""
        assert self.held is not None
        known = self.first + self.held.shape[1]
        settled = known if final else max(known - self.ahead, self.said)
        if settled == self.said:
            return self.held[:, :0, :N_STACKED]
        sizes = (N_STACKED, N_STACKED, self.held.shape[-1] - 2 * N_STACKED)
        noise, mu, prosody = self.held.split(sizes, dim=-1)
        rows = Rows.of(torch.tensor([self.held.shape[1]], device=mu.device), self.held.shape[1])
        mel = self.decoder.sample(noise, mu, prosody, self.style, rows, self.n_steps)
        made = mel[:, self.said - self.first : settled - self.first]
        self.said = settled
        cut = max(self.said - self.behind - self.first, 0)
        self.held, self.first = self.held[:, cut:].clone(), self.first + cut
        return made

    def num_bytes(self) -> int:
        """Bytes that are carried over."""
        return 0 if self.held is None else self.held.nbytes
