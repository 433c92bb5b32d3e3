"""CosyVoice 2's language model file `llm.pt` <-> SpeechLM.

Upstream names (CosyVoice llm/llm.py, Qwen2LM; one file of 295 tensors for 24 layers):
    llm.model.model.embed_tokens.weight            text_embedding.weight
    llm.model.model.layers.N.self_attn.{q,k,v}_proj.{weight,bias}   rows q | k | v of mixer.qkv_proj
    llm.model.model.layers.N.self_attn.o_proj.weight                mixer.out_proj.weight
    llm.model.model.layers.N.mlp.{gate,up}_proj.weight              rows gate | up of mlp.gate_up_proj
    llm.model.lm_head.weight                       a tied copy of the text embedding: ignored
The 151,936-way text head is never computed: the logits of a speech model are those of `llm_decoder`.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from mamtra.backbone.layer_plan import LayerPlan, layer_plan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import CheckpointError, refuse_pointer
from mamtra.lm.speech_lm import SpeechLM
from mamtra.transfer.conversions import SAME_TENSORS
from mamtra.weights_file import save_tensors

# Qwen2-0.5B's geometry and CosyVoice 2's vocabularies.
SIZES = BackboneSizes(
    d_model=896, n_layers=24, n_heads=14, n_kv_heads=2, head_dim=64, d_ff=4864, rope_theta=1e6
)
SPEECH_VOCAB = 6561
N_PARAMETERS = 505_803_812

LLM_FILE, MAMBA_FILE = "llm.pt", "mamba.safetensors"
_QWEN = "llm.model.model."
_HEAD = "llm.model.lm_head.weight"
_TRAINING = ("epoch", "step")  # written beside the tensors by upstream's trainer
_SHOWN = 5


def read_llm_pt(path: str | Path, sizes: BackboneSizes = SIZES) -> SpeechLM:
    """The all-attention SpeechLM of an `llm.pt`, in fp32 and eval mode.

    Raises CheckpointError for a missing file, a git-lfs pointer, a file of another CosyVoice, and
    names tensors that are missing, unknown or of another shape.
    """
    tensors = _read_pt(Path(path))
    return _assemble(Path(path), tensors, {}, layer_plan(sizes.n_layers, "1:0", "blockbeg"), sizes)


def write_upstream(model: SpeechLM, folder: str | Path) -> Path:
    """Write a teacher or student in upstream's form into `folder`.

    `llm.pt` holds everything that upstream has a name for, in fp32; `mamba.safetensors` the mixers that it
    has none for, the layer plan and the window. Each is written whole or not at all.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    upstream = {_HEAD: state["text_embedding.weight"]}
    mamba: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if (
            _layer_of(name) is not None
            and model.plan[_layer_of(name) or 0] not in SAME_TENSORS
            and ".mixer." in name
        ):
            mamba[name] = tensor.contiguous()
        else:
            upstream |= _to_upstream(name, tensor, model.sizes)
    scratch = folder / f".{os.getpid()}.partial"
    try:
        torch.save(upstream, scratch)
        os.replace(scratch, folder / LLM_FILE)
        # An all-attention model has no tensor for it, but its plan belongs with the folder all the same.
        about = {"plan": json.dumps(model.plan), "window": str(model.sizes.window)}
        save_tensors(mamba, scratch, {"format": "pt", **about})
        os.replace(scratch, folder / MAMBA_FILE)
    finally:
        scratch.unlink(missing_ok=True)
    return folder


def read_upstream(folder: str | Path, sizes: BackboneSizes = SIZES) -> SpeechLM:
    """What `write_upstream` wrote; a folder without `mamba.safetensors` is a teacher.

    Raises CheckpointError as `read_llm_pt`, for either file.
    """
    folder = Path(folder)
    path = folder / MAMBA_FILE
    if not path.is_file():
        return read_llm_pt(folder / LLM_FILE, sizes)
    try:
        with safe_open(str(path), framework="pt") as stream:
            about = stream.metadata() or {}
            plan = tuple(json.loads(about["plan"]))
            # Files of before there were windows have none.
            sizes = replace(sizes, window=int(about.get("window", sizes.window)))
            mamba = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors, JSON and a missing plan each raise their own kind
        raise CheckpointError(f"{path}: not the Mamba part of a student ({error})") from None
    return _assemble(folder / LLM_FILE, _read_pt(folder / LLM_FILE), mamba, plan, sizes)


def _read_pt(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; it is in the folder CosyVoice2-0.5B")
    refuse_pointer(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # unpickling damage raises every kind of exception
        raise CheckpointError(
            f"{path}: not a checkpoint that can be read safely ({error})"
        ) from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not named tensors")
    tensors: dict[str, Any] = {k: v for k, v in content.items() if k not in _TRAINING}
    odd = sorted(str(name) for name, value in tensors.items() if not isinstance(value, Tensor))
    if odd:
        raise CheckpointError(f"{path}: {_some(odd)} not a tensor")
    _check_family(path, tensors)
    return tensors


def _check_family(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Names the CosyVoice that a file is of when it is not the second."""
    if any(name.startswith(("text_encoder.", "llm.encoders.")) for name in tensors):
        raise CheckpointError(f"{path}: a language model of CosyVoice 1; CosyVoice 2 is needed")
    speech = tensors.get("speech_embedding.weight")
    if "llm_embedding.weight" not in tensors and speech is not None:
        raise CheckpointError(
            f"{path}: no llm_embedding.weight and {speech.shape[0]} speech rows, as in CosyVoice 3; "
            "CosyVoice 2 is needed"
        )


def _assemble(
    path: Path,
    tensors: dict[str, Tensor],
    mamba: dict[str, Tensor],
    plan: LayerPlan,
    sizes: BackboneSizes,
) -> SpeechLM:
    """A SpeechLM from upstream's tensors and ours."""
    embedding, speech = f"{_QWEN}embed_tokens.weight", "speech_embedding.weight"
    absent = [name for name in (embedding, speech) if name not in tensors]
    if absent:
        raise CheckpointError(f"{path}: missing tensor {_some(absent)}")
    text_vocab, speech_vocab = tensors[embedding].shape[0], tensors[speech].shape[0] - 3
    with torch.device("meta"):  # half a billion random numbers would be drawn to be overwritten
        model = SpeechLM(sizes, plan, text_vocab, speech_vocab)
    left, found, problems = dict(tensors), dict(mamba), []
    left.pop(_HEAD, None)
    for name, wanted in model.state_dict().items():
        if name in found:
            continue
        parts = []
        for source in _sources(name):
            if source in left:
                parts.append(left.pop(source))
            else:
                problems.append(f"missing tensor {source}")
        if len(parts) == len(_sources(name)):
            found[name] = (
                torch.cat([part.float() for part in parts]) if len(parts) > 1 else parts[0].float()
            )
            if found[name].shape != wanted.shape:
                shape = " + ".join(str(tuple(part.shape)) for part in parts)
                problems.append(
                    f"{', '.join(_sources(name))}: {shape}, wanted {tuple(wanted.shape)}"
                )
    problems += [f"unknown tensor {name}" for name in left]
    problems += [f"unknown tensor {name}" for name in set(mamba) - set(model.state_dict())]
    if problems:
        raise CheckpointError(f"{path}: {_some(sorted(problems))}")
    # `assign` keeps what was read; clones, because a memory-mapped file must not be written through.
    state = {name: tensor.clone() for name, tensor in found.items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model.requires_grad_(True).eval()


def _layer_of(name: str) -> int | None:
    parts = name.split(".")
    return int(parts[2]) if parts[:2] == ["backbone", "layers"] else None


def _sources(name: str) -> tuple[str, ...]:
    """Upstream's tensors, in order of rows, that make one of ours."""
    layer = _layer_of(name)
    if layer is None:
        renamed = {
            "text_embedding.weight": f"{_QWEN}embed_tokens.weight",
            "backbone.norm.weight": f"{_QWEN}norm.weight",
        }
        return (renamed.get(name, name),)
    home, rest = f"{_QWEN}layers.{layer}.", name.split(".", 3)[3]
    kind = rest.rpartition(".")[2]
    table = {
        "mixer_norm": ("input_layernorm",),
        "mlp_norm": ("post_attention_layernorm",),
        "mixer.qkv_proj": tuple(f"self_attn.{part}_proj" for part in "qkv"),
        "mixer.out_proj": ("self_attn.o_proj",),
        "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
        "mlp.down_proj": ("mlp.down_proj",),
    }
    modules = table.get(rest.rpartition(".")[0], (rest.rpartition(".")[0],))
    return tuple(f"{home}{module}.{kind}" for module in modules)


def _to_upstream(name: str, tensor: Tensor, sizes: BackboneSizes) -> dict[str, Tensor]:
    """One of our tensors under upstream's names."""
    names = _sources(name)
    rows = [len(tensor)]
    if ".qkv_proj." in name:
        rows = [sizes.d_inner, sizes.d_kv, sizes.d_kv]
    elif ".gate_up_proj." in name:
        rows = [sizes.d_ff, sizes.d_ff]
    return {n: part.clone() for n, part in zip(names, tensor.split(rows), strict=True)}


def _some(lines: list[str]) -> str:
    more = f" (and {len(lines) - _SHOWN} more)" if len(lines) > _SHOWN else ""
    return "; ".join(lines[:_SHOWN]) + more
