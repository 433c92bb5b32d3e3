"""How much each layer of a teacher needs to stay attention: one score a layer, the highest stay.

cosine    1 - cos(input, output) of a layer, ShortGPT's block influence (arXiv 2403.03853, equation
          1): one forward pass; MamTra's "Cosine" placement
changed   a teacher with one layer converted or skipped: "swap" is its KL to the teacher, "wer" what it
          costs in word errors when it speaks (MamTra's "WER" placement)
restored  a student with one layer attention and all others Mamba: "kl" is how much nearer to the
          teacher the attention layer brings it after a short distillation

B batch, T time, D d_model.
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mamtra.backbone.layer_plan import ATTENTION, MAMBA, LayerPlan
from mamtra.lm.sequence import IGNORE, KIND_SPEECH, SequenceBatch
from mamtra.lm.speech_lm import SpeechLM
from mamtra.transfer.student import build_student

PARTS = ("block", "mixer")
CHANGES = ("convert", "skip")


@dataclass(frozen=True)
class LayerSamples:
    """A mean per layer and sequence, kept apart so that intervals can be drawn from them.

    sums (layers, sequences) float64; counts (sequences,) positions that each sum runs over.
    """

    sums: Tensor
    counts: Tensor

    @property
    def scores(self) -> list[float]:
        """One mean per layer over all positions."""
        return (self.sums.sum(1) / self.counts.sum()).tolist()


@torch.no_grad()
def cosine_samples(
    teacher: SpeechLM, batches: Iterable[SequenceBatch], part: str = "block", skip: int = 0
) -> LayerSamples:
    """1 - cosine between each layer's input and output, over the speech positions of each sequence.

    part: "block" compares across the whole layer, "mixer" across its mixer alone, which is what would
    be converted. The first `skip` speech tokens of a sequence are left out. (Its first position, where
    attention sinks have outlier activations, is never speech.) Raises ValueError for an unknown part or
    nothing left to compare.
    """
    if part not in PARTS:
        raise ValueError(f"unknown part {part!r}; valid parts: {', '.join(PARTS)}")
    sums, counts = [], []
    training = teacher.training
    teacher.eval()
    try:
        with _layers_heard(teacher, part) as pairs:
            for batch in batches:
                pairs.clear()
                batch = batch.to(teacher.device)
                here = (batch.kinds == KIND_SPEECH) & batch.mask
                here &= here.cumsum(dim=1) > skip
                teacher(teacher.embed(batch.ids, batch.kinds), batch.mask)
                distances = torch.stack(
                    [1 - torch.cosine_similarity(x.double(), y.double(), dim=-1) for x, y in pairs]
                )
                sums.append((distances * here).sum(-1).cpu())
                counts.append(here.sum(-1).cpu())
    finally:
        teacher.train(training)
    if not counts or not int(torch.cat(counts).sum()):
        raise ValueError("no speech position to measure cosine similarity on")
    return LayerSamples(torch.cat(sums, dim=1), torch.cat(counts))


@contextmanager
def _layers_heard(model: SpeechLM, part: str) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collects (input, output) (B, T, D) of every layer, in order, of each forward pass."""
    pairs: list[tuple[Tensor, Tensor]] = []
    mixed: list[Tensor] = []

    def mixer_done(_mixer: Any, _inputs: Any, output: Tensor) -> None:
        mixed.append(output)

    def layer_done(_layer: Any, inputs: tuple[Tensor, Any], output: Tensor) -> None:
        pairs.append((inputs[0], output if part == "block" else inputs[0] + mixed[-1]))
        mixed.clear()

    layers: list[Any] = list(model.backbone.layers)
    handles = [layer.mixer.register_forward_hook(mixer_done) for layer in layers]
    handles += [layer.register_forward_hook(layer_done) for layer in layers]
    try:
        yield pairs
    finally:
        for handle in handles:
            handle.remove()


def changed(
    teacher: SpeechLM, layer: int, how: str, calibration_batch: SequenceBatch | None = None
) -> SpeechLM:
    """The teacher with one layer converted to Mamba (init "calibrated") or its mixer skipped.

    Raises ValueError for an unknown `how`, a layer that is not there, or a conversion without a
    batch.
    """
    if how not in CHANGES:
        raise ValueError(f"unknown change {how!r}; valid changes: {', '.join(CHANGES)}")
    plan = one_layer_plan(teacher.sizes.n_layers, layer, MAMBA, ATTENTION)
    if how == "convert":
        return build_student(teacher, plan, "calibrated", calibration_batch)[0]
    model = copy.deepcopy(teacher)
    skipped: Any = model.backbone.layers[layer]
    # A mixer whose output projection is zero adds nothing to the residual stream.
    torch.nn.init.zeros_(skipped.mixer.out_proj.weight)
    return model


def one_layer_plan(n_layers: int, layer: int, kind: str, others: str) -> LayerPlan:
    """A plan with one layer of `kind` among `others`. ValueError when there is no such layer."""
    if not 0 <= layer < n_layers:
        raise ValueError(f"layer {layer} is outside 0..{n_layers - 1}")
    return tuple(kind if number == layer else others for number in range(n_layers))


def restored_plan(n_layers: int, layer: int | None) -> LayerPlan:
    """All Mamba but one layer, or all Mamba for None: the students that the "kl" score compares."""
    if layer is None:
        return (MAMBA,) * n_layers
    return one_layer_plan(n_layers, layer, ATTENTION, MAMBA)


@torch.no_grad()
def kl_samples(
    teacher: SpeechLM, student: SpeechLM, batches: Iterable[SequenceBatch]
) -> LayerSamples:
    """KL(teacher || student) in nats over the target positions of each sequence: one "layer", so
    sums (1, sequences)."""
    sums, counts = [], []
    for batch in batches:
        batch = batch.to(teacher.device)
        teacher_embeds = teacher.embed(batch.ids, batch.kinds)
        student_embeds = student.embed(batch.ids, batch.kinds)
        parts = {"mask": batch.mask, "generated": batch.generated}
        log_p = teacher(teacher_embeds, **parts).logits.float().log_softmax(-1)
        log_q = student(student_embeds, **parts).logits.float().log_softmax(-1)
        divergence = (log_p.exp() * (log_p - log_q)).sum(-1).double()
        here = batch.targets != IGNORE
        sums.append((divergence * here).sum(-1).cpu())
        counts.append(here.sum(-1).cpu())
    if not counts or not int(torch.cat(counts).sum()):
        raise ValueError("no target position to measure the KL divergence on")
    return LayerSamples(torch.cat(sums)[None], torch.cat(counts))
