"""The speech language model. Teacher and student are this class with different layer plans.

B batch, T time, K new tokens, D d_model, V speech codes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra.backbone.decoder import Decoder
from mamtra.backbone.layer_plan import LayerPlan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.backbone.state import DecodeState
from mamtra.lm.progress import progress_features
from mamtra.lm.sequence import KIND_SPECIAL, KIND_SPEECH, KIND_TEXT, N_EXTRA, N_SPECIAL


@dataclass
class LMOutput:
    """What one forward pass yields."""

    logits: Tensor  # (B, T, V+3)
    last_hidden: Tensor  # (B, T, D) after the final norm
    layer_hidden: tuple[Tensor, ...] | None  # residual stream after each layer, (B, T, D) each


class SpeechLM(nn.Module):
    """Text and speech tokens in, speech-token logits out (CosyVoice 2's llm.py geometry).

    `dropout` acts on the input embeddings and on the output of every mixer and MLP while training.
    """

    def __init__(
        self,
        sizes: BackboneSizes,
        plan: LayerPlan,
        text_vocab: int,
        speech_vocab: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if text_vocab < 1 or speech_vocab < 1:
            raise ValueError(f"vocabularies must be positive: {text_vocab=}, {speech_vocab=}")
        self.sizes = sizes
        self.text_vocab = text_vocab
        self.speech_vocab = speech_vocab
        self.dropout = dropout
        self.text_embedding = nn.Embedding(text_vocab, sizes.d_model)
        self.llm_embedding = nn.Embedding(N_SPECIAL, sizes.d_model)
        self.speech_embedding = nn.Embedding(speech_vocab + N_EXTRA, sizes.d_model)
        self.backbone = Decoder(sizes, plan, dropout)
        self.llm_decoder = nn.Linear(sizes.d_model, speech_vocab + N_EXTRA)
        if sizes.text_rate:
            # The features start as loud as the embeddings they are added to.
            self.progress_scale = nn.Parameter(torch.tensor(0.85 * sizes.d_model**-0.5))
        self._init_weights()

    @property
    def plan(self) -> LayerPlan:
        """Mixer kind of each layer."""
        return self.backbone.plan

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.llm_decoder.weight.device

    @torch.no_grad()
    def _init_weights(self) -> None:
        """Normal weights of std 0.6 / sqrt(fan_in), which is Qwen2's 0.02 at its width of 896.

        Projections that write to the residual stream are divided by sqrt(2 * n_layers) (GPT-2), so
        that its variance does not grow with depth.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.6 * module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.6 * module.embedding_dim**-0.5)
        for layer in self.backbone.layers:
            for projection in (layer.mixer.out_proj, layer.mlp.down_proj):  # type: ignore[union-attr]
                projection.weight.div_((2 * self.sizes.n_layers) ** 0.5)  # type: ignore[union-attr]

    def embed(self, ids: Tensor, kinds: Tensor, spoken: Tensor | int = 0) -> Tensor:
        """ids (B, T) int64, kinds (B, T) int8 -> (B, T, D); padding becomes zeros.

        spoken: speech tokens that came before these positions, one number or (B,); only progress
        features read it. Raises IndexError (from the lookup) for an id outside the table of its kind.
        """

        def rows(table: nn.Embedding, kind: int) -> Tensor:
            here = kinds == kind
            found = table(ids.masked_fill(~here, 0))
            return found.masked_fill(~here[..., None], 0.0)

        embeds = (
            rows(self.speech_embedding, KIND_SPEECH)
            + rows(self.text_embedding, KIND_TEXT)
            + rows(self.llm_embedding, KIND_SPECIAL)
        )
        rate = self.sizes.text_rate
        if not rate:
            return embeds
        features = progress_features(kinds, spoken, rate, embeds.shape[-1])
        return embeds + self.progress_scale * features

    def forward(
        self, embeds: Tensor, mask: Tensor | None = None, output_hidden: bool = False
    ) -> LMOutput:
        """embeds (B, T, D), mask (B, T) bool or None (nothing padded) -> LMOutput."""
        last_hidden, layer_hidden = self.hidden(embeds, mask, output_hidden)
        return LMOutput(self.llm_decoder(last_hidden), last_hidden, layer_hidden)

    def hidden(
        self, embeds: Tensor, mask: Tensor | None = None, output_hidden: bool = False
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """As `forward` without the logits: `last_hidden` and `layer_hidden` of LMOutput.

        Logits are the largest tensor of a training step; a loss that needs them at some positions only
        makes them there, by `llm_decoder`.
        """
        embeds = F.dropout(embeds, self.dropout, self.training)
        return self.backbone(embeds, mask, output_hidden)

    @torch.no_grad()
    def prefill(
        self, embeds: Tensor, mask: Tensor | None = None, *, max_length: int
    ) -> tuple[Tensor, DecodeState]:
        """embeds (B, T, D) -> (logits of each row's last valid position (B, V+3), live state).

        `max_length` bounds prompt plus generated tokens; ValueError when the prompt exceeds it.
        """
        hidden, state = self.backbone.prefill(embeds, mask, max_length)
        if mask is None:
            last = hidden[:, -1]
        else:
            position = torch.arange(mask.shape[1], device=mask.device)
            index = torch.where(mask, position, 0).amax(dim=1)
            last = hidden[torch.arange(len(index), device=mask.device), index]
        return self.llm_decoder(last), state

    @torch.no_grad()
    def step(self, embeds: Tensor, state: DecodeState) -> Tensor:
        """embeds (B, K, D) -> logits (B, K, V+3): K >= 1 more tokens into the live state."""
        return self.llm_decoder(self.backbone.step(embeds, state))
