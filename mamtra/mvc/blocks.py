"""What stands around a mixer: the voice enters by AdaLN or by concatenation, then x + mixer(...).

B batch, T positions, D d_model, S d_style.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra.mvc.rows import Rows
from mamtra.mvc.sizes import MVCSizes


class AdaLN(nn.Module):
    """(1 + gamma(e)) LN(x) + beta(e), equation (4); gamma and beta start at 0, so that it starts as LN."""

    def __init__(self, sizes: MVCSizes, width: int = 0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(sizes.d_model, elementwise_affine=False)
        self.film = nn.Linear(sizes.d_style, 2 * sizes.d_model)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x (B, T, D), style (B, S) -> (B, T, D)."""
        gamma, beta = self.film(style).unsqueeze(1).chunk(2, dim=-1)
        return (1 + gamma) * self.norm(x) + beta


class Concatenation(nn.Module):
    """LN(x) + W_2 silu(W_1 [LN(x); e]): the voice beside the features, through `width` channels."""

    def __init__(self, sizes: MVCSizes, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(sizes.d_model, elementwise_affine=False)
        self.into = nn.Linear(sizes.d_model + sizes.d_style, width)
        self.out = nn.Linear(width, sizes.d_model)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x (B, T, D), style (B, S) -> (B, T, D)."""
        x = self.norm(x)
        beside = style.unsqueeze(1).expand(-1, x.shape[1], -1).to(x.dtype)
        return x + self.out(F.silu(self.into(torch.cat((x, beside), dim=-1))))


class Block(nn.Module):
    """x + mixer(injection(x, style)). `lookahead`: at n the mixer's output at n + lookahead is added."""

    def __init__(self, injection: nn.Module, mixer: nn.Module, lookahead: int = 0) -> None:
        super().__init__()
        self.injection, self.mixer, self.lookahead = injection, mixer, lookahead

    def forward(self, x: Tensor, style: Tensor, rows: Rows) -> Tensor:
        """x (B, T, D), style (B, S) -> (B, T, D)."""
        y = self.mixer(self.injection(x, style), rows)
        return x + (rows.ahead(y, self.lookahead) if self.lookahead else y)


class Stack(nn.Module):
    """Blocks one after the other; none of them is the identity."""

    def __init__(self, blocks: list[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, style: Tensor, rows: Rows) -> Tensor:
        """x (B, T, D), style (B, S) -> (B, T, D)."""
        for block in self.blocks:
            x = block(x, style, rows)
        return x
