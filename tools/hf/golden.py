"""A golden file: what an exported model computes, so that a port to another runtime can be compared.

Made by our own model in fp32. Tensors (T positions of a prompt, N speech tokens fed one at a time, D width):

    prompt.ids (T,)             with inputs=ids: what goes in; steps.ids (N,) after it
    prompt.embeds (T, D)        the same as input embeddings; steps.embeds (N, D)
    prompt.layers.I (T, D)      residual stream after layer I
    prompt.hidden (T, D)        after the final norm; steps.hidden (N, D)
    prompt.logits (T, V + 3)    of speech, with the head's bias; steps.logits (1, V + 3) of the last step
    state.I.keys, values (G, T + N, E)     of attention layer I after the last step, keys rotated
    state.I.conv (C, W - 1)     of Mamba layer I: the convolution's last inputs, oldest first
    state.I.ssm (H, P, S)       its state, head width before state width

Metadata: `weights`, the SHA-256 of the model.safetensors that it belongs to.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from mamtra.backbone.layer_plan import MAMBA
from mamtra.lm.sequence import KIND_SPEECH, build_prompt
from mamtra.lm.speech_lm import SpeechLM
from mamtra.transfer.granite import expand_channels, expand_states
from tools.hf.files import GOLDEN, WEIGHTS, ExportError, sha256

N_TEXT, N_PROMPT, N_STEPS = 12, 12, 300
LIMIT = 3e-5  # largest difference in a tensor, as a part of its largest value


@torch.inference_mode()
def make_golden(lm: SpeechLM, n_text_ids: int, seed: int = 0) -> dict[str, Tensor]:
    """Random ids through `lm`; all tensors but the merged ids, which are a matter of the vocabulary.

    `text.ids`, `speech.ids` and `steps.tokens` are in our own numbering.
    """
    g = torch.Generator().manual_seed(seed)
    text = torch.randint(n_text_ids, (N_TEXT,), generator=g)
    speech = torch.randint(lm.speech_vocab, (N_PROMPT + N_STEPS,), generator=g)
    prompt, steps = speech[:N_PROMPT], speech[N_PROMPT:]
    ids, kinds = build_prompt(text, prompt)
    embeds = lm.embed(ids[None], kinds[None])
    whole = lm(embeds, output_hidden=True)
    assert whole.layer_hidden is not None
    made = {
        "text.ids": text,
        "speech.ids": prompt,
        "steps.tokens": steps,
        "prompt.embeds": embeds[0],
        "prompt.hidden": whole.last_hidden[0],
        "prompt.logits": whole.logits[0],
    }
    made |= {f"prompt.layers.{i}": hidden[0] for i, hidden in enumerate(whole.layer_hidden)}
    _, state = lm.backbone.prefill(embeds, None, len(ids) + N_STEPS)
    kind = torch.full((1, N_STEPS), KIND_SPEECH, dtype=torch.int8)
    fed = lm.embed(steps[None], kind, spoken=N_PROMPT)
    hidden = torch.cat([lm.backbone.step(fed[:, t : t + 1], state)[0] for t in range(N_STEPS)])
    made |= {
        "steps.embeds": fed[0],
        "steps.hidden": hidden,
        "steps.logits": lm.llm_decoder(hidden[-1:]),
    }
    for i, (layer, kind) in enumerate(zip(state.layers, lm.plan, strict=True)):
        found: Any = layer
        if kind == MAMBA:
            parts = {
                "conv": expand_channels(found.conv[0].t(), lm.sizes),
                "ssm": expand_states(found.ssm[0], lm.sizes).transpose(1, 2),
            }
        else:
            used = len(ids) + N_STEPS
            parts = {"keys": found.keys[0, :, :used], "values": found.values[0, :, :used]}
        made |= {f"state.{i}.{name}": tensor for name, tensor in parts.items()}
    return {name: tensor.contiguous().clone() for name, tensor in made.items()}


def read_golden(folder: Path) -> dict[str, Tensor]:
    """The golden file beside a model. Raises ExportError without one, or when it is that of other weights."""
    path = folder / GOLDEN
    if not path.is_file():
        raise ExportError(f"{path}: no such file")
    with safe_open(str(path), framework="pt") as stream:
        belongs = (stream.metadata() or {}).get("weights")
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    if belongs != sha256(folder / WEIGHTS):
        raise ExportError(f"{path}: the golden file of other weights than {folder / WEIGHTS}")
    return tensors


@torch.inference_mode()
def compare(model: Any, golden: dict[str, Tensor], bias: Tensor, speech: slice) -> dict[str, float]:
    """Largest difference of every golden tensor to transformers' `model`, as a part of its largest value.

    bias (V + 3,): of the head. speech: rows of the vocabulary that are speech.
    """
    found = dict(_computed(model, golden, bias, speech))
    return {
        name: ((found[name].double() - value.double()).abs().max() / value.abs().max()).item()
        for name, value in golden.items()
        if name in found
    }


def _computed(
    model: Any, golden: dict[str, Tensor], bias: Tensor, speech: slice
) -> Iterator[tuple[str, Tensor]]:
    layers: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, y: layers.append(y))
        for layer in model.model.layers
    ]
    n_prompt, cache = len(golden["prompt.embeds"]), None

    def run(embeds: Tensor, start: int) -> Any:
        # Masks are given, because transformers 5.23 cannot make them for a model without attention.
        return model.model(
            inputs_embeds=embeds[None],
            position_ids=torch.arange(start, start + len(embeds))[None],
            attention_mask={"full_attention": None, "linear_attention": None},
            past_key_values=cache,
            use_cache=True,
        )

    def logits(hidden: Tensor) -> Tensor:
        return model.lm_head(hidden)[:, speech] + bias

    out = run(golden["prompt.embeds"], 0)
    for hook in hooks:
        hook.remove()
    yield from ((f"prompt.layers.{i}", layer[0]) for i, layer in enumerate(layers))
    yield "prompt.hidden", out.last_hidden_state[0]
    yield "prompt.logits", logits(out.last_hidden_state[0])
    if "prompt.ids" in golden:
        table = model.get_input_embeddings()
        yield "prompt.embeds", table(golden["prompt.ids"])
        yield "steps.embeds", table(golden["steps.ids"])
    cache, hidden = out.past_key_values, []
    for t, embeds in enumerate(golden["steps.embeds"]):
        hidden.append(run(embeds[None], n_prompt + t).last_hidden_state[0])
    yield "steps.hidden", torch.cat(hidden)
    yield "steps.logits", logits(hidden[-1])
    for i, layer in enumerate(cache.layers):
        if f"state.{i}.keys" in golden:
            yield f"state.{i}.keys", layer.keys[0]
            yield f"state.{i}.values", layer.values[0]
        else:
            # transformers keeps one input more than the next step needs.
            yield f"state.{i}.conv", layer.conv_states[0][0, :, 1:]
            yield f"state.{i}.ssm", layer.recurrent_states[0][0]
