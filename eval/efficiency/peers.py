"""What people run instead: the same weights in transformers' Qwen2, driven one token at a time.

    cosyvoice2     as CosyVoice 2's own code does (llm/llm.py:247-259, :494-510, utils/common.py:103-133): the
                   hidden states of every layer, the text head that nobody reads, a mask built anew for every
                   token, a nucleus drawn by a loop over scalars, one sentence at a time
    granite        a hybrid of ours as it is exported (granite_peer.py)
    no_text_head   the best that transformers does with these weights without a serving engine: Qwen2Model on a
                   batch, with our head and our sampling

Upstream hands its step a mask of one position, which transformers 5 reads as one visible position; here it is
as long as the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from eval.efficiency.bandwidth import weight_step_bytes
from eval.efficiency.models import made_up_text
from eval.store.files import InputError
from mamtra.backbone.layer_plan import ATTENTION
from mamtra.lm.sampling import Sampling, sample
from mamtra.lm.sequence import KIND_SPEECH, build_prompt, eos_id
from mamtra.lm.speech_lm import SpeechLM

COSYVOICE2, NO_TEXT_HEAD, GRANITE = "cosyvoice2", "no_text_head", "granite"
NAMES = {
    GRANITE: "transformers' Granite hybrid",
    COSYVOICE2: "transformers as CosyVoice 2 drives it",
    NO_TEXT_HEAD: "transformers without text head",
}


def qwen2(lm: SpeechLM, text_head: bool) -> Any:
    """transformers' Qwen2 with the weights of an all-attention model, shared and not copied.

    text_head: Qwen2ForCausalLM, whose head is tied to the text embedding, else Qwen2Model. Raises InputError
    for a plan with layers of another kind.
    """
    if set(lm.plan) != {ATTENTION}:
        raise InputError("peers run the weights of a model whose layers are all attention")
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Model
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

    sizes = lm.sizes
    arguments: dict[str, Any] = {  # some of them are for its base class's **kwargs
        "vocab_size": lm.text_vocab,
        "hidden_size": sizes.d_model,
        "intermediate_size": sizes.d_ff,
        "num_hidden_layers": sizes.n_layers,
        "num_attention_heads": sizes.n_heads,
        "num_key_value_heads": sizes.n_kv_heads,
        "head_dim": sizes.head_dim,
        "rms_norm_eps": sizes.norm_eps,
        "max_position_embeddings": 32_768,
        "rope_parameters": {"rope_type": "default", "rope_theta": sizes.rope_theta},
        "tie_word_embeddings": True,
        "attn_implementation": "sdpa",
    }
    config = Qwen2Config(**arguments)
    with torch.device("meta"):
        model = (Qwen2ForCausalLM if text_head else Qwen2Model)(config).eval()
    inner: Any = model.model if text_head else model
    weights = _renamed(lm)
    inner.load_state_dict(weights, assign=True)
    if text_head:
        model.lm_head.weight = inner.embed_tokens.weight
    inner.rotary_emb = Qwen2RotaryEmbedding(config).to(lm.device)  # its frequencies are no weights
    return model


def _renamed(lm: SpeechLM) -> dict[str, Tensor]:
    """Our tensors under transformers' names; slices of ours where ours are fused."""
    found = {
        "embed_tokens.weight": lm.text_embedding.weight,
        "norm.weight": lm.backbone.norm.weight,
    }
    layers: list[Any] = list(lm.backbone.layers)
    for n, layer in enumerate(layers):
        at, sections = f"layers.{n}.", layer.mixer.sections(lm.sizes)
        for name, rows in sections.items():
            found[f"{at}self_attn.{name}_proj.weight"] = layer.mixer.qkv_proj.weight[rows]
            found[f"{at}self_attn.{name}_proj.bias"] = layer.mixer.qkv_proj.bias[rows]
        found[f"{at}self_attn.o_proj.weight"] = layer.mixer.out_proj.weight
        gate, up = layer.mlp.gate_up_proj.weight.chunk(2)
        found |= {f"{at}mlp.gate_proj.weight": gate, f"{at}mlp.up_proj.weight": up}
        found[f"{at}mlp.down_proj.weight"] = layer.mlp.down_proj.weight
        found[f"{at}input_layernorm.weight"] = layer.mixer_norm.weight
        found[f"{at}post_attention_layernorm.weight"] = layer.mlp_norm.weight
    return {name: tensor.detach() for name, tensor in found.items()}


class TimedPeer:
    """`prefill` as in TimedModel. Peers have no codec: their language model is what is compared."""

    def __init__(
        self, lm: SpeechLM, kind: str, prefill: bool = True, token_rate_hz: float | None = None
    ) -> None:
        self.lm, self.kind, self.prefill, self.token_rate_hz = lm, kind, prefill, token_rate_hz
        self.model = qwen2(lm, text_head=kind == COSYVOICE2)
        self.weight_bytes = sum(p.nbytes for p in lm.parameters())

    @torch.inference_mode()
    def speak(self, context: int, n_tokens: int, batch: int) -> Iterator[list[int]]:
        if self.kind == NO_TEXT_HEAD:
            yield from self._together(context, n_tokens, batch)
            return
        rows = [self._alone(context, n_tokens, seed) for seed in range(batch)]
        for tokens in zip(*rows, strict=True):
            yield list(tokens)

    def new_cache(self) -> Any:
        """An empty one of transformers."""
        from transformers import DynamicCache

        return DynamicCache()

    def _start(self, context: int, seeds: Sequence[int]) -> tuple[Tensor, Any, Tensor]:
        """(what is fed first (B, T, D), the cache, speech tokens before what follows (B,))."""
        lm, cache, device = self.lm, self.new_cache(), self.lm.device
        if self.prefill:
            prompts = [build_prompt(*made_up_text(lm, context, seed)) for seed in seeds]
            ids = torch.stack([ids for ids, _ in prompts]).to(device)
            kinds = torch.stack([kinds for _, kinds in prompts]).to(device)
            return lm.embed(ids, kinds), cache, (kinds == KIND_SPEECH).sum(dim=1)
        sizes = lm.sizes
        shape = (len(seeds), sizes.n_kv_heads, context, sizes.head_dim)
        for layer in range(sizes.n_layers):
            noise = torch.randn(2, *shape, dtype=lm.dtype, device=device)
            cache.update(noise[0], noise[1], layer)
        spoken = torch.full((len(seeds),), context, device=device)
        return (
            self._embed(torch.zeros(len(seeds), dtype=torch.long, device=device), spoken),
            cache,
            spoken + 1,
        )

    def _embed(self, tokens: Tensor, spoken: Tensor) -> Tensor:
        """(B,) speech tokens -> (B, 1, D)."""
        kinds = torch.full((len(tokens), 1), KIND_SPEECH, dtype=torch.int8, device=tokens.device)
        return self.lm.embed(tokens[:, None], kinds, spoken)

    def _together(self, context: int, n_tokens: int, batch: int) -> Iterator[list[int]]:
        x, cache, spoken = self._start(context, range(batch))
        stop, device = eos_id(self.lm.speech_vocab), self.lm.device
        settings = Sampling()
        history = torch.full((batch, settings.window), -1, device=device)
        uniforms = torch.rand(n_tokens, batch, 2, dtype=torch.float64, generator=_seeded(0)).to(
            device
        )
        for step in range(n_tokens):
            hidden = self.model(inputs_embeds=x, past_key_values=cache, use_cache=True)
            logits = self.lm.llm_decoder(hidden.last_hidden_state[:, -1])
            logits[:, stop:] = float("-inf")
            drawn = sample(logits, history, uniforms[step], settings)
            history = torch.cat((history[:, 1:], drawn[:, None]), dim=1)
            yield drawn.tolist()
            x, spoken = self._embed(drawn, spoken), spoken + 1

    def _alone(self, context: int, n_tokens: int, seed: int) -> Iterator[int]:
        x, cache, spoken = self._start(context, [seed])
        stop, device, out, generator = eos_id(self.lm.speech_vocab), x.device, [], _seeded(seed)
        for _ in range(n_tokens):
            seen = cache.get_seq_length() + x.shape[1]
            mask = torch.tril(torch.ones((1, x.shape[1], seen), device=device)).to(torch.bool)
            mask[:, -1] = True
            found = self.model(
                inputs_embeds=x,
                attention_mask=mask[:, -1],
                output_hidden_states=True,
                return_dict=True,
                use_cache=True,
                past_key_values=cache,
            )
            scores = self.lm.llm_decoder(found.hidden_states[-1][:, -1]).log_softmax(dim=-1)[0]
            scores[stop:] = float("-inf")
            token = int(_repetition_aware(scores, out, generator))
            out.append(token)
            yield token
            x, spoken = self._embed(torch.tensor([token], device=device), spoken), spoken + 1

    def vocode(self, tokens: Sequence[int]) -> float | None:
        return None

    def state_bytes(self, context: int, batch: int) -> int:
        sizes, bits = self.lm.sizes, self.lm.dtype.itemsize
        return 2 * sizes.n_layers * sizes.d_kv * bits * context * batch

    def step_bytes(self, context: int, batch: int) -> int:
        """What its own way has to move: each row of the first kind reads all weights, the text head's, too."""
        weights, state = weight_step_bytes(self.lm), self.state_bytes(context, batch)
        if self.kind == NO_TEXT_HEAD:
            return weights + state
        return batch * (weights + self.lm.text_embedding.weight.nbytes) + state


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _repetition_aware(scores: Tensor, out: Sequence[int], generator: torch.Generator) -> Tensor:
    """(V,) log-probabilities -> (1,) token, written as upstream writes it (utils/common.py:103-141)."""
    settings = Sampling()
    kept, tokens, total = [], [], 0.0
    probabilities, order = scores.softmax(dim=0).sort(descending=True, stable=True)
    for i in range(len(order)):
        if not (total < settings.top_p and len(kept) < settings.top_k):
            break
        total += probabilities[i]
        kept.append(probabilities[i])
        tokens.append(order[i])
    weights = torch.tensor(kept).float()
    chosen = tokens[int(weights.multinomial(1, generator=generator))]
    recent = torch.tensor(out[-settings.window :]).to(scores.device)
    if (recent == chosen).sum().item() >= settings.window * settings.tau:
        whole = scores.softmax(dim=0).float().cpu()
        return whole.multinomial(1, generator=generator)
    return chosen
