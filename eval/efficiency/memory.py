"""Bytes of a plan without a model: weights and states counted on tensors that have no memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from mamtra.backbone.layer_plan import layer_plan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import DTYPES, read_description
from mamtra.lm.speech_lm import SpeechLM, keep_wide
from mamtra.text.qwen import QwenTokenizer
from mamtra.transfer.cosyvoice2 import SIZES, SPEECH_VOCAB

COSYVOICE2 = "cosyvoice2"


def sizes_like(like: str) -> tuple[BackboneSizes, tuple[int, int]]:
    """(sizes, text and speech vocabulary) of "cosyvoice2" or of a model folder. Raises CheckpointError for a
    folder that is none of ours."""
    if like == COSYVOICE2:
        return SIZES, (QwenTokenizer.vocab_size, SPEECH_VOCAB)
    about = read_description(like)
    return BackboneSizes(**about["sizes"]), (about["text_vocab"], about["speech_vocab"])


@dataclass(frozen=True)
class Counted:
    """A model that is only counted. `lm` lies on "meta", in the dtypes it would be loaded in."""

    lm: SpeechLM

    @property
    def weight_bytes(self) -> int:
        return sum(p.nbytes for p in self.lm.parameters())

    def state_bytes(self, streams: int, positions: int, conditioning: int) -> int:
        """All that decoding holds for `streams` rows of `positions`, `conditioning` of them not generated."""
        return self.lm.new_state(streams, positions, "meta", conditioning).num_bytes()


def counted(
    like: str,
    ratio: str,
    dtype: str,
    *,
    mixer: str = "mamba",
    state: str = "per_head",
    state_dtype: str = "fp32",
) -> Counted:
    """Raises ValueError for an unknown ratio, mixer or dtype, CheckpointError as `sizes_like`."""
    sizes, vocabularies = sizes_like(like)
    sizes = replace(sizes, state=state, state_dtype=state_dtype)
    plan = layer_plan(sizes.n_layers, ratio, "blockbeg", mixer=mixer)
    with torch.device("meta"):
        lm = SpeechLM(sizes, plan, *vocabularies).eval()
    for name, parameter in lm.named_parameters():
        if not keep_wide(name):
            parameter.data = parameter.data.to(DTYPES[dtype])
    return Counted(lm)
