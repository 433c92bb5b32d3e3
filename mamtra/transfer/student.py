"""Build a hybrid student from a teacher and report where every tensor came from.

B batch, T time, D d_model, H heads, E head_dim.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mamtra.backbone.layer_plan import ATTENTION, MAMBA, LayerPlan, check_plan
from mamtra.backbone.sizes import PER_HEAD
from mamtra.lm.sequence import SequenceBatch
from mamtra.lm.speech_lm import SpeechLM
from mamtra.transfer.conversions import CONVERSIONS, SAME_TENSORS
from mamtra.transfer.gqa_to_mamba import INITS
from mamtra.transfer.pieces import COPIED, Piece
from mamtra.transfer.report import TransferReport
from mamtra.transfer.watch import Seen, watch_mixers

LAYERWISE = "layerwise"  # calibrated, then trained layer by layer (lightning_modules/layerwise.py)
IDENTITY = "identity"  # of plans in which every layer keeps the teacher's tensors
STUDENT_INITS = (*INITS, LAYERWISE, IDENTITY)


def _layers(model: SpeechLM) -> list[nn.Module]:
    return list(model.backbone.layers)


def _of_kind(model: SpeechLM, attention: bool) -> list[nn.Module]:
    pairs = zip(model.plan, _layers(model), strict=True)
    return [layer.mixer for kind, layer in pairs if (kind == ATTENTION) is attention]  # type: ignore


FREEZE_GROUPS: dict[str, Callable[[SpeechLM], list[nn.Module]]] = {
    "mlp": lambda model: [layer.mlp for layer in _layers(model)],  # type: ignore[misc]
    "attention": lambda model: _of_kind(model, attention=True),
    "embedding": lambda model: [
        model.text_embedding,
        model.llm_embedding,
        model.speech_embedding,
    ],
}


@torch.no_grad()
def _layer_cosine(
    teacher_hidden: Sequence[Tensor], student_hidden: Sequence[Tensor], mask: Tensor
) -> tuple[float, ...]:
    pairs = zip(teacher_hidden, student_hidden, strict=True)
    cosine = nn.functional.cosine_similarity
    return tuple(cosine(t[mask].float(), s[mask].float(), dim=-1).mean().item() for t, s in pairs)


@torch.no_grad()
def build_student(
    teacher: SpeechLM,
    plan: LayerPlan,
    init: str,
    calibration_batch: SequenceBatch | None = None,
    *,
    dropout: float = 0.0,
    freeze: Sequence[str] = (),
    mamba_rope: bool = False,
    state: str = PER_HEAD,
    state_dtype: str = "fp32",
    window: int | None = None,
    mixers: SpeechLM | None = None,
) -> tuple[SpeechLM, TransferReport]:
    """A student with `plan` whose attention and window layers, MLPs, norms, embeddings and head are the
    teacher's and whose other layers are made from the teacher's attention by `init`.

    calibration_batch (about 1,000 tokens are enough) is needed by init "calibrated" and for the
    step-0 cosines of the report. freeze names groups of FREEZE_GROUPS that will not be trained.
    mamba_rope, state, state_dtype, window: see BackboneSizes; the teacher's window when None.
    mixers: for init "layerwise", the model whose Mamba mixers are taken over, one for every converted layer.
    The student is in eval mode, on the teacher's device. Random tensors follow torch's global seed.

    Raises ValueError for an unknown init or group (listing the valid ones), a plan of the wrong
    length, a plan that wants attention's tensors where the teacher has none, another `state` than that of
    Mamba layers that the teacher has, init "identity" with a layer
    that has to be converted, a missing batch, or `mixers` that
    are missing, not asked for or without a Mamba mixer of the right size where one is needed.
    """
    if init not in STUDENT_INITS:
        raise ValueError(f"unknown init {init!r}; valid inits: {', '.join(STUDENT_INITS)}")
    if (init == LAYERWISE) != (mixers is not None):
        raise ValueError(
            f"init {init!r} and mixers={'none' if mixers is None else 'a model'}: "
            f"a model to take mixers from belongs to init '{LAYERWISE}', and to no other"
        )
    plan = check_plan(plan, teacher.sizes.n_layers)
    for i, (wanted, present) in enumerate(zip(plan, teacher.plan, strict=True)):
        if wanted != present and present not in SAME_TENSORS:
            raise ValueError(f"layer {i} of the plan is {wanted} but the teacher's is {present}")
        if init == IDENTITY and wanted != present and wanted not in SAME_TENSORS:
            others = ", ".join(name for name in STUDENT_INITS if name != IDENTITY)
            raise ValueError(
                f"init 'identity' copies tensors, but layer {i} becomes {wanted}: choose one of {others}"
            )
    if MAMBA in teacher.plan and state != teacher.sizes.state:
        raise ValueError(
            f"state={state}: the teacher's Mamba layers have state={teacher.sizes.state}, and the student "
            "takes them as they are"
        )
    unknown = sorted(set(freeze) - FREEZE_GROUPS.keys())
    if unknown:
        raise ValueError(
            f"unknown freeze group {', '.join(unknown)}; valid groups: {', '.join(FREEZE_GROUPS)}"
        )
    if init == "calibrated" and calibration_batch is None:
        raise ValueError("init 'calibrated' needs a calibration batch")

    was_training = teacher.training
    teacher.eval()
    hidden: tuple[Tensor, ...] | None = None
    seen: dict[int, Seen] = {}
    batch = None if calibration_batch is None else calibration_batch.to(teacher.device)
    embeds = None if batch is None else teacher.embed(batch.ids, batch.kinds)
    if batch is not None and embeds is not None:
        with watch_mixers(teacher) as seen:
            hidden = teacher(embeds, batch.mask, True, batch.generated).layer_hidden

    own = {"mamba_rope": mamba_rope, "state": state, "state_dtype": state_dtype}
    sizes = replace(teacher.sizes, window=window or teacher.sizes.window, **own)
    student = SpeechLM(sizes, plan, teacher.text_vocab, teacher.speech_vocab, dropout)
    student.to(teacher.device)
    rows = _copy_shared(teacher, student)
    pairs = zip(_layers(teacher), _layers(student), strict=True)
    for i, (source, target) in enumerate(pairs):
        if plan[i] == teacher.plan[i] or plan[i] in SAME_TENSORS:
            continue
        attention, mixer = source.mixer, target.mixer
        prefix = f"backbone.layers.{i}.mixer."
        base = "calibrated" if mixers is not None else init
        conversion = CONVERSIONS[plan[i]]
        for piece in conversion.convert(attention, mixer, base):  # type: ignore[arg-type]
            origin = prefix + piece.source if piece.status == COPIED else piece.source
            rows.append(Piece(prefix + piece.name, piece.shape, piece.status, origin))
        if init == "calibrated":
            conversion.calibrate(attention, mixer, seen[i])  # type: ignore[arg-type]
        if mixers is not None:
            _take_mixer(mixers, i, student)
    student.eval()
    teacher.train(was_training)

    cosine = None
    if batch is not None and embeds is not None and hidden is not None:
        student_hidden = student(embeds, batch.mask, True, batch.generated).layer_hidden
        assert student_hidden is not None
        cosine = _layer_cosine(hidden, student_hidden, batch.mask)
    for group in freeze:
        for module in FREEZE_GROUPS[group](student):
            module.requires_grad_(False)
    report = TransferReport(plan, init, tuple(rows), cosine)
    return student, report.with_frozen(student)


def _take_mixer(source: SpeechLM, layer: int, student: SpeechLM) -> None:
    """Copy one converted mixer. ValueError when `source` has no such mixer of this size."""
    if layer >= len(source.plan) or source.plan[layer] != student.plan[layer]:
        kind = student.plan[layer]
        raise ValueError(f"layer {layer} of the model to take mixers from is not a {kind} layer")
    try:
        mixer = _layers(source)[layer].mixer.state_dict()  # type: ignore[union-attr]
        _layers(student)[layer].mixer.load_state_dict(mixer)  # type: ignore[union-attr]
    except RuntimeError as error:
        raise ValueError(f"layer {layer} of the model to take mixers from: {error}") from error


def _copy_shared(teacher: SpeechLM, student: SpeechLM) -> list[Piece]:
    """Copy every tensor outside converted mixers."""
    converted = tuple(
        f"backbone.layers.{i}.mixer."
        for i, (old, new) in enumerate(zip(teacher.plan, student.plan, strict=True))
        if old != new and new not in SAME_TENSORS
    )
    source, rows = teacher.state_dict(), []
    for name, tensor in student.state_dict().items():
        if name.startswith(converted):
            continue
        tensor.copy_(source[name])
        rows.append(Piece(name, tuple(tensor.shape), COPIED, name))
    return rows
