"""The files of an exported folder, and the way back."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.sampling import Sampling
from mamtra.lm.sequence import N_EXTRA
from mamtra.lm.speech_lm import SpeechLM
from mamtra.systems import TextFrontend
from mamtra.transfer.granite import (
    MODEL_TYPE,
    NoCounterpart,
    granite_config,
    stack_from_granite,
    stack_to_granite,
)
from mamtra.weights_file import save_tensors
from tools.hf.card import card
from tools.hf.files import (
    CARD,
    CONFIG,
    EMBED,
    EMBEDS,
    FORMAT,
    GENERATION,
    GOLDEN,
    IDS,
    OURS,
    OURS_WEIGHTS,
    SAMPLER,
    WEIGHTS,
    ExportError,
    read_json,
    read_ours,
    read_tensors,
    sha256,
)
from tools.hf.golden import make_golden
from tools.hf.tokenizer import reads, text_ids, write_tokenizer
from tools.hf.vocabulary import MergedVocabulary

# A minute of speech at 25 tokens/s. Right bounds go by the text: 2 to 20 tokens per BPE token in CosyVoice 2.
MAX_NEW_TOKENS = 1500
_TABLES = ("text_embedding.weight", "llm_embedding.weight")
_SPEECH, _HEAD, _BIAS = "speech_embedding.weight", "llm_decoder.weight", "llm_decoder.bias"
_PROGRESS, _STACK = "progress_scale", "backbone."


def check_inputs(sizes: BackboneSizes, inputs: str) -> None:
    """Raises ExportError for an unknown way in, NoCounterpart for one that this model cannot take."""
    if inputs not in (IDS, EMBEDS):
        raise ExportError(f"inputs={inputs}: valid are {IDS} and {EMBEDS}")
    if inputs == IDS and sizes.text_rate:
        raise NoCounterpart(
            f"text_rate={sizes.text_rate}: the model adds progress features to every input by its place in the "
            f"text, which no table of token ids can hold; inputs={EMBEDS} exports it exactly"
        )


def write_export(
    lm: SpeechLM,
    description: Mapping[str, Any],
    frontend: TextFrontend,
    folder: Path,
    inputs: str,
) -> None:
    """Everything into `folder`, which exists. description: the model's `model.json`.

    Raises NoCounterpart, ExportError and ValueError as the parts do.
    """
    check_inputs(lm.sizes, inputs)
    n_text = text_ids(frontend)
    state = {name: tensor.detach().float() for name, tensor in lm.state_dict().items()}
    stack = {n.removeprefix(_STACK): t for n, t in state.items() if n.startswith(_STACK)}
    tensors = stack_to_granite(stack, lm.sizes, lm.plan)
    aside = {_BIAS: state[_BIAS]}
    text, special = (state[name] for name in _TABLES)
    if inputs == IDS:
        merged = MergedVocabulary(n_text, lm.text_vocab, lm.speech_vocab)
        speech, size = merged.speech, merged.size
        tensors["model.embed_tokens.weight"] = merged.merge(text, special, state[_SPEECH])
        head = state[_HEAD].new_zeros(size, lm.sizes.d_model)
        head[speech] = state[_HEAD]
        tensors["lm_head.weight"] = head
    else:
        merged, size = None, lm.speech_vocab + N_EXTRA
        speech = slice(0, size)
        aside |= dict(zip(_TABLES, (text, special), strict=True))
        aside |= {_PROGRESS: state[_PROGRESS]} if lm.sizes.text_rate else {}
        tensors |= {"model.embed_tokens.weight": state[_SPEECH], "lm_head.weight": state[_HEAD]}
    _save(tensors, folder / WEIGHTS, {})
    _save(aside, folder / OURS_WEIGHTS, {"text_rate": repr(lm.sizes.text_rate)})
    ends = [*range(speech.stop - N_EXTRA, speech.stop)]
    ids = {"bos_token_id": merged.special.start if merged else None}
    ids |= {"eos_token_id": ends, "pad_token_id": ends[1]}
    _dump(granite_config(lm.sizes, lm.plan, size) | ids, folder / CONFIG)
    biases = zip(range(speech.start, speech.stop), state[_BIAS].tolist(), strict=True)
    generation = ids | {
        "do_sample": True,
        "temperature": Sampling.temperature,
        "top_p": Sampling.top_p,
        "top_k": Sampling.top_k,
        "max_new_tokens": MAX_NEW_TOKENS,
        "sequence_bias": [[[i], bias] for i, bias in biases],
    }
    generation |= {"suppress_tokens": merged.silent()} if merged else {}
    _dump(generation, folder / GENERATION)
    write_tokenizer(frontend, folder, lm.speech_vocab if merged else None)
    weights = sha256(folder / WEIGHTS)
    ours = {"format": FORMAT, "inputs": inputs, "text_ids": n_text, "weights": weights}
    _dump(ours | {"model": dict(description)}, folder / OURS)
    _save(_golden(lm, n_text, merged), folder / GOLDEN, {"weights": weights})
    home = Path(__file__).parent
    for name in (SAMPLER, EMBED) if inputs == EMBEDS else (SAMPLER,):
        shutil.copyfile(home / name, folder / name)
    text_of_card = card(lm, inputs, speech, reads(frontend))
    (folder / CARD).write_text(text_of_card, encoding="utf-8")


def _golden(lm: SpeechLM, n_text: int, merged: MergedVocabulary | None) -> dict[str, Tensor]:
    golden = make_golden(lm, n_text)
    if merged:
        first = merged.speech.start
        sos, task = (torch.tensor([i]) for i in range(*merged.special.indices(merged.size)))
        prompt = (sos, golden["text.ids"], task, golden["speech.ids"] + first)
        golden |= {"prompt.ids": torch.cat(prompt), "steps.ids": golden["steps.tokens"] + first}
    return golden


def speech_rows(ours: Mapping[str, Any]) -> slice:
    """Rows of the vocabulary that are speech. ours: `mamtra.json`."""
    model = ours["model"]
    if ours["inputs"] == EMBEDS:
        return slice(0, model["speech_vocab"] + N_EXTRA)
    return MergedVocabulary(ours["text_ids"], model["text_vocab"], model["speech_vocab"]).speech


def read_export(folder: Path) -> tuple[SpeechLM, dict[str, Any], bool]:
    """(model in fp32 and eval mode, its `model.json`, whether the weights are as they were exported).

    Raises ExportError for a folder that is not a whole export, NoCounterpart for weights that our layers have
    no place for.
    """
    ours, config = read_ours(folder), read_json(folder / CONFIG)
    if config.get("model_type") != MODEL_TYPE:
        raise ExportError(
            f"{folder / CONFIG}: model_type {config.get('model_type')!r}, not {MODEL_TYPE}"
        )
    model = ours["model"]
    tensors, aside = read_tensors(folder / WEIGHTS), read_tensors(folder / OURS_WEIGHTS)
    try:
        sizes, plan = BackboneSizes(**model["sizes"]), tuple(model["plan"])
        lm = SpeechLM(sizes, plan, model["text_vocab"], model["speech_vocab"])
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"{folder / OURS}: not the description of a model ({error})") from None
    try:
        stack = stack_from_granite(tensors, sizes, plan)
        table, head = tensors["model.embed_tokens.weight"], tensors["lm_head.weight"]
        state = {_STACK + name: tensor for name, tensor in stack.items()} | aside
        state[_HEAD] = head[speech_rows(ours)]
        if ours["inputs"] == EMBEDS:
            state[_SPEECH] = table
        else:
            merged = MergedVocabulary(ours["text_ids"], lm.text_vocab, lm.speech_vocab)
            parts = merged.split(table)
            state |= dict(zip((*_TABLES, _SPEECH), parts, strict=True))
        lm.load_state_dict(state)
    except KeyError as error:
        raise ExportError(f"{folder / WEIGHTS}: tensor {error} is missing") from None
    except RuntimeError as error:  # of torch: shapes that do not fit, each by its name
        raise ExportError(f"{folder / WEIGHTS}: {error}") from None
    return lm.eval(), model, sha256(folder / WEIGHTS) == ours["weights"]


def _save(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    whole = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_tensors(whole, path, {"format": "pt", **metadata})


def _dump(content: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
