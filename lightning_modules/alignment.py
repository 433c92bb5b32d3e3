"""Guided attention: some heads of a teacher are shown which letter is being spoken.

On ten hours of speech the plain teacher does not find the alignment of text and speech in the time that two
CPU cores have. The corpus knows it (forced alignment by the codec's recogniser), so a loss asks one head
in each of a few layers to look at the letter that the next token speaks. As in guided attention for TTS
(1710.08969, section 4), but with the letter itself in place of a diagonal band. Training only.

B batch, T time.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from mamtra.backbone.attention_mixer import AttentionMixer
from mamtra.backbone.layer_plan import ATTENTION
from mamtra.lm.sequence import IGNORE
from mamtra.lm.speech_lm import SpeechLM

NO_ALIGNMENT = (
    "alignment.weight is set, but the token table has no column 'alignment', as what a teacher said has none: "
    "use recordings tokenised by `python -m data.tokenise`, or set alignment.weight=0"
)


class AlignedTexts(Protocol):
    """What a token table (`data.tokens.TokenTable`) says of each utterance."""

    @property
    def text_ids(self) -> Iterable[Tensor]: ...
    @property
    def speech_ids(self) -> Iterable[Tensor]: ...
    @property
    def alignments(self) -> Iterable[Tensor] | None: ...


@torch.no_grad()
def embed_codes_as_letters(model: SpeechLM, table: AlignedTexts) -> None:
    """Starts every speech embedding near the mean embedding of the letters that its code speaks.

    A query of speech and a key of text then match by content from the first step on. Half of each
    vector's energy stays as it was drawn; codes that never occur stay wholly so.
    """
    if table.alignments is None:
        raise ValueError(NO_ALIGNMENT)
    codes, letters = model.speech_vocab, model.text_vocab
    utterances = zip(table.text_ids, table.speech_ids, table.alignments, strict=True)
    pairs = [speech * letters + text[spoken] for text, speech, spoken in utterances]
    counts = torch.cat(pairs).bincount(minlength=codes * letters).view(codes, letters).float()
    often = counts.sum(1, keepdim=True)
    means = counts / often.clamp_min(1) @ model.text_embedding.weight
    drawn = model.speech_embedding.weight[:codes]
    means *= drawn.norm(dim=1, keepdim=True) / means.norm(dim=1, keepdim=True).clamp_min(1e-6)
    drawn.copy_(torch.where(often > 0, (drawn + means) * 0.5**0.5, drawn))


class AlignmentProbe:
    """Listens to head `head` of the attention layers `layers` of a model.

    Raises ValueError for a layer that the model does not have or that is not attention, or such a head.
    """

    def __init__(self, model: SpeechLM, layers: Sequence[int], head: int) -> None:
        n_layers, n_heads = model.sizes.n_layers, model.sizes.n_heads
        if not 0 <= head < n_heads:
            raise ValueError(f"alignment head {head} is outside 0..{n_heads - 1}")
        self.head = head
        self.heard: list[tuple[AttentionMixer, Any, Any]] = []
        for number in layers:
            if not 0 <= number < n_layers:
                raise ValueError(f"alignment layer {number} is outside 0..{n_layers - 1}")
            if model.plan[number] != ATTENTION:
                raise ValueError(f"alignment layer {number} is {model.plan[number]}, not attention")
            layer: Any = model.backbone.layers[number]
            layer.mixer.register_forward_hook(self._hear)

    def _hear(self, mixer: Any, arguments: tuple[Any, ...], output: Tensor) -> None:
        self.heard.append((mixer, *arguments))

    def loss(self, aligned: Tensor) -> Tensor:
        """-log attention to `aligned` (B, T), nats, mean over layers and aligned positions.

        Speaks about the forward passes since the last call; 0 when nothing is aligned.
        """
        heard, self.heard = self.heard, []
        here = aligned != IGNORE
        index = aligned.clamp_min(0).unsqueeze(-1)
        total = torch.zeros((), device=aligned.device)
        for mixer, x, context in heard:
            log_probs = mixer.log_attention(x, context, self.head)
            total = total - (log_probs.gather(-1, index)[..., 0] * here).sum()
        return total / max(len(heard) * int(here.sum()), 1)
