"""A hybrid of ours in transformers' own GraniteMoeHybrid, with the weights that an export has.

Its Mamba layers have x, B and a state per query head: more bytes than ours. A batch is decoded together, with
our embeddings, head and sampling.
"""

from __future__ import annotations

from typing import Any

import torch

from eval.efficiency.peers import TimedPeer
from eval.store.files import InputError
from mamtra.backbone.layer_plan import ATTENTION, MAMBA
from mamtra.lm.speech_lm import SpeechLM
from mamtra.transfer.granite import NoCounterpart, granite_config, stack_to_granite


def granite(lm: SpeechLM) -> Any:
    """transformers' stack with copies of the weights of `lm`. Raises InputError for a model that cannot be
    exported."""
    from transformers import GraniteMoeHybridConfig, GraniteMoeHybridModel

    try:
        arguments = granite_config(lm.sizes, lm.plan, vocab_size=1)
        tensors = stack_to_granite(lm.backbone.state_dict(), lm.sizes, lm.plan)
    except NoCounterpart as error:
        raise InputError(f"peers=granite: {error}") from error
    model: Any = GraniteMoeHybridModel(GraniteMoeHybridConfig(**arguments)).eval()
    weights = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    weights["embed_tokens.weight"] = torch.zeros(1, lm.sizes.d_model)
    model.load_state_dict(weights)
    return model.to(lm.device, lm.dtype)


class TimedGranite(TimedPeer):
    """Reads the context (`prefill`): its cache is transformers' own to fill. Raises InputError without it, and
    for a model that has no counterpart."""

    def __init__(
        self, lm: SpeechLM, prefill: bool = True, token_rate_hz: float | None = None
    ) -> None:
        if not prefill:
            raise InputError("peers=granite prefill=false: it cannot start with a full cache")
        if set(lm.plan) != {ATTENTION, MAMBA}:
            raise InputError("peers=granite needs a model of attention and Mamba layers")
        self.lm, self.prefill, self.token_rate_hz = lm, prefill, token_rate_hz
        self.model = granite(lm)
        head = sum(p.nbytes for p in lm.llm_decoder.parameters())
        stack = sum(p.nbytes for p in self.model.parameters())
        self.read_bytes = stack - self.model.embed_tokens.weight.nbytes + head
        tables = (lm.text_embedding, lm.llm_embedding, lm.speech_embedding)
        self.weight_bytes = self.read_bytes + sum(table.weight.nbytes for table in tables)

    def new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config)

    def speak(self, context: int, n_tokens: int, batch: int) -> Any:
        with torch.inference_mode():
            yield from self._together(context, n_tokens, batch)

    def _parts(self, context: int) -> tuple[int, int]:
        """Bytes of a row: keys and values, recurrent states."""
        sizes, bits = self.lm.sizes, self.lm.dtype.itemsize
        n_mamba = sum(kind == MAMBA for kind in self.lm.plan)
        cache = 2 * (sizes.n_layers - n_mamba) * sizes.d_kv * context
        state = n_mamba * sizes.d_inner * (3 * sizes.d_conv + sizes.head_dim)
        return cache * bits, state * bits

    def state_bytes(self, context: int, batch: int) -> int:
        return batch * sum(self._parts(context))

    def step_bytes(self, context: int, batch: int) -> int:
        cache, state = self._parts(context)
        return self.read_bytes + batch * (cache + 2 * state)
