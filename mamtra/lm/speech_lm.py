"""The speech language model. Teacher and student are this class with different layer plans.

B batch, T time, K new tokens, D d_model, V speech codes.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra.backbone.context import StepContext
from mamtra.backbone.decoder import Decoder
from mamtra.backbone.layer_plan import LayerPlan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.backbone.state import DecodeState
from mamtra.lm.graphs import graphed_step
from mamtra.lm.progress import progress_features, sinusoids
from mamtra.lm.runtime import can_compile
from mamtra.lm.sequence import KIND_SPECIAL, KIND_SPEECH, KIND_TEXT, N_EXTRA, N_SPECIAL

# Parameters of Mamba and DeltaNet layers that make their decay and what they write.
WIDE = (".dt_proj.weight", ".dt_bias", ".a_log", ".gate_proj.weight", ".beta_bias")


def keep_wide(name: str) -> bool:
    """Whether the parameter of this name stays in fp32 when a model is loaded in another dtype."""
    return name.endswith(WIDE)


@dataclass
class LMOutput:
    """What one forward pass yields."""

    logits: Tensor  # (B, T, V+3)
    last_hidden: Tensor  # (B, T, D) after the final norm
    layer_hidden: tuple[Tensor, ...] | None  # residual stream after each layer, (B, T, D) each


def _embedding(rows: int, width: int) -> nn.Embedding:
    """On "meta", where a model that is to be loaded is built, without a random start: for normal numbers there
    PyTorch imports its compiler, which takes longer (1.8 s) than all else."""
    if torch.get_default_device().type == "meta":
        return nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False)
    return nn.Embedding(rows, width)


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
        self.graphed = False  # whether `step_speech` replays CUDA graphs
        self.text_embedding = _embedding(text_vocab, sizes.d_model)
        self.llm_embedding = _embedding(N_SPECIAL, sizes.d_model)
        self.speech_embedding = _embedding(speech_vocab + N_EXTRA, sizes.d_model)
        self.backbone = Decoder(sizes, plan, dropout)
        self.llm_decoder = nn.Linear(sizes.d_model, speech_vocab + N_EXTRA)
        if sizes.text_rate:
            # The features start as loud as the embeddings they are added to.
            self.progress_scale = nn.Parameter(torch.tensor(0.85 * sizes.d_model**-0.5))
        if self.device.type != "meta":
            self._init_weights()

    @property
    def plan(self) -> LayerPlan:
        """Mixer kind of each layer."""
        return self.backbone.plan

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.llm_decoder.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are in."""
        return self.llm_decoder.weight.dtype

    @torch.no_grad()
    def fingerprint(self) -> str:
        """Tells models apart, and one model in two dtypes: a hash of plan, sizes and up to 64 values of every
        tensor, in less time than a step takes."""
        digest = hashlib.sha256(repr((self.plan, self.sizes, str(self.dtype))).encode())
        for name, tensor in self.state_dict().items():
            some = tensor.flatten()[:: max(1, tensor.numel() // 64)][:64]
            digest.update(name.encode() + some.cpu().double().numpy().tobytes())
        return digest.hexdigest()

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
        return embeds + (self.progress_scale * features).to(embeds.dtype)

    def forward(
        self,
        embeds: Tensor,
        mask: Tensor | None = None,
        output_hidden: bool = False,
        generated: Tensor | None = None,
    ) -> LMOutput:
        """embeds (B, T, D), mask (B, T) bool or None (nothing padded) -> LMOutput.

        generated: (B, T) bool, `SequenceBatch.generated`, which window layers need (ValueError).
        """
        last_hidden, layer_hidden = self.hidden(embeds, mask, output_hidden, generated)
        return LMOutput(self.llm_decoder(last_hidden), last_hidden, layer_hidden)

    def hidden(
        self,
        embeds: Tensor,
        mask: Tensor | None = None,
        output_hidden: bool = False,
        generated: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """As `forward` without the logits: `last_hidden` and `layer_hidden` of LMOutput.

        Logits are the largest tensor of a training step; a loss that needs them at some positions only
        makes them there, by `llm_decoder`.
        """
        embeds = F.dropout(embeds, self.dropout, self.training)
        return self.backbone(embeds, mask, output_hidden, generated)

    @torch.no_grad()
    def prefill(
        self, embeds: Tensor, mask: Tensor | None = None, *, max_length: int
    ) -> tuple[Tensor, DecodeState]:
        """embeds (B, T, D) -> (logits of each row's last valid position (B, V+3), live state).

        All of it is conditioning to window layers, the prompt's speech too.
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
    def step(self, embeds: Tensor, state: DecodeState, generated: Tensor | None = None) -> Tensor:
        """embeds (B, K, D) -> logits (B, K, V+3): K >= 1 more tokens into the live state.

        generated: (B, K) bool, which of them are speech that the model made; all when None.
        """
        return self.llm_decoder(self.backbone.step(embeds, state, generated))

    @torch.no_grad()
    def step_speech(self, tokens: Tensor, spoken: Tensor, state: DecodeState) -> Tensor:
        """One more token of generated speech for every row: tokens (B,) -> logits (B, V+3). `spoken` (B,) as in
        `embed`.

        `step` of `embed` in fewer operations: most of what decoding does.
        """
        if self.graphed:
            return graphed_step(self._step_speech, tokens, spoken, state)
        context = state.step_context(1)
        logits = self._step_speech(tokens, spoken, context, state.layers)
        state.advance(1)
        return logits

    def _step_speech(
        self, tokens: Tensor, spoken: Tensor, context: StepContext, layers: list[Any]
    ) -> Tensor:
        embeds = self.speech_embedding(tokens)
        if self.sizes.text_rate:
            features = sinusoids((spoken + 1) * self.sizes.text_rate, embeds.shape[-1])
            embeds = embeds + (self.progress_scale * features).to(embeds.dtype)
        return self.llm_decoder(self.backbone.step_layers(embeds[:, None], context, layers))[:, 0]

    def compile_steps(self) -> None:
        """Makes one piece of what `step_speech` computes: a CUDA graph on a GPU (`mamtra.lm.graphs`), elsewhere
        torch.compile, which needs a C++ compiler on a CPU.

        The first steps wait for it; the same tokens come out, up to rounding.
        Raises RuntimeError when there is no compiler.
        """
        if self.device.type == "cuda":
            self.graphed = True
            return
        if not can_compile(self.device):
            raise RuntimeError("no C++ compiler is on the PATH (g++ or clang++): compiled=false")
        self._step_speech = torch.compile(self._step_speech)  # type: ignore[method-assign]

    def new_state(
        self,
        batch: int,
        max_length: int,
        device: torch.device | str | None = None,
        conditioning: int = 0,
    ) -> DecodeState:
        """Empty state of `batch` rows of at most `max_length` positions, in the weights' dtype and on their
        device; on "meta" one without memory, to count it. conditioning: as in `Decoder.new_state`."""
        place = device or self.device
        return self.backbone.new_state(batch, max_length, self.dtype, place, conditioning)
