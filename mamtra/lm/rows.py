"""The rows of the engine: what one sequence feeds, what it may draw, and how it is kept for later.

W the sampling's window.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from mamtra.backbone.state import DecodeState
from mamtra.lm.sampling import NOTHING
from mamtra.lm.sequence import KIND_SPEECH, Ids, build_prompt, eos_id


class Row:
    """One sequence: what it feeds next, what may not be drawn, and its own randomness.

    `banned`: ids of the next draw that are out of the question. `generator`: a CPU generator.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.ids: list[int] = []
        self.kinds: list[int] = []
        self.banned: slice | None = None

    def feed(self, ids: Iterable[int], kind: int) -> None:
        """Puts tokens in line."""
        before = len(self.ids)
        self.ids += [int(i) for i in ids]
        self.kinds += [kind] * (len(self.ids) - before)

    def take(self, token: int) -> bool:
        """Receives what was drawn, NOTHING where no token could be; returns whether the row has ended."""
        return False

    def copy(self) -> Self:
        """The same row in the same place, which goes on by itself."""
        twin = copy.copy(self)
        held = vars(self).items()
        vars(twin).update({name: [*v] for name, v in held if isinstance(v, list)})
        twin.generator = torch.Generator()
        twin.generator.set_state(self.generator.get_state())
        return twin


class Sentence(Row):
    """[sos, text, task, prompt speech], then speech until a stop token or the length limit.

    `tokens` are the codes drawn so far, `hit_max` says that the limit ended it, `failed` that its logits were
    such that nothing could be drawn. Raises ValueError for an empty text.
    """

    def __init__(
        self,
        text_ids: Ids,
        prompt_speech_ids: Ids,
        generator: torch.Generator,
        limits: tuple[int, int],
        speech_vocab: int,
    ) -> None:
        super().__init__(generator)
        ids, kinds = build_prompt(text_ids, prompt_speech_ids)
        self.ids, self.kinds = ids.tolist(), kinds.tolist()
        self.n_prompt = len(self.ids)
        self.fewest, self.most = limits
        self.first_stop = eos_id(speech_vocab)
        self.tokens: list[int] = []
        self.hit_max, self.failed = False, False
        self._ban()

    @property
    def max_length(self) -> int:
        """Positions that it may come to."""
        return self.n_prompt + self.most

    def _ban(self) -> None:
        self.banned = slice(self.first_stop, None) if len(self.tokens) < self.fewest else None

    def take(self, token: int) -> bool:
        self.failed = token == NOTHING
        if self.failed or token >= self.first_stop:
            return True
        self.tokens.append(token)
        self.hit_max = len(self.tokens) == self.most
        self.feed([token], KIND_SPEECH)
        self._ban()
        return self.hit_max


@dataclass(frozen=True)
class Snapshot:
    """A row in the middle of its sequence, apart from the engine it was decoded in.

    `model`: fingerprint of the model whose state it holds. One snapshot may be restored any number of times.
    """

    model: str
    row: Row
    state: DecodeState  # of this row, with room for no more
    uniforms: Tensor  # (steps ahead, 2), drawn and not all used
    n_drawn: int
    recent: Tensor  # (W,) last tokens that the sampling has seen
    spoken: Tensor  # () speech tokens before the next one

    def num_bytes(self) -> int:
        """Bytes of its state and its random numbers."""
        kept = (self.uniforms, self.recent, self.spoken)
        return self.state.num_bytes() + sum(tensor.nbytes for tensor in kept)
