"""Distils a frozen teacher into a student: cross entropy + skew KL on logits + MSE on embeddings, or what the
teacher thinks of what the student says (`lightning_modules.rollouts`)."""

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_modules.base import LanguageModelModule
from lightning_modules.losses import LOSSES, Compared
from lightning_modules.objectives import embedding_loss, logit_losses
from lightning_modules.optim import OptimizerSettings
from lightning_modules.rollouts import OnPolicy, speak
from mamtra.lm.sequence import IGNORE, SequenceBatch
from mamtra.lm.speech_lm import SpeechLM

EMBEDDINGS = ("last_hidden", "all_layers", "input_embed")


def narrowed(start: int, size: int, done: float) -> int:
    """Window after a share `done` of the steps: from `start` to `size` along a cosine (WAND, 2604.08558)."""
    return round(size + (start - size) * (1 + math.cos(math.pi * done)) / 2)


@dataclass(frozen=True)
class Objective:
    """Weights and readings of MamTra's L_CE + L_logits + L_emb; weight 0 leaves a term out.

    `embedding`: "last_hidden" (before the speech head, at target positions), "all_layers" (residual
    stream after every layer) or "input_embed" (the looked-up embeddings), the latter two at every
    real position, because they exist for the text too. The paper's text allows all three readings.
    """

    ce: float
    logits: float
    embedding_weight: float
    embedding: str
    direction: str
    alpha: float
    more: dict[str, float]  # weights of `losses.LOSSES`

    def __post_init__(self) -> None:
        if unknown := self.more.keys() - LOSSES.keys():
            known = ", ".join(LOSSES) or "none yet"
            raise ValueError(f"objective.more: unknown loss {sorted(unknown)[0]!r}; valid: {known}")
        if self.embedding not in EMBEDDINGS:
            raise ValueError(
                f"embedding must be one of {', '.join(EMBEDDINGS)}, not {self.embedding!r}"
            )
        weights = (self.ce, self.logits, self.embedding_weight, *self.more.values())
        if min(weights) < 0 or max(weights) == 0:
            raise ValueError(f"loss weights must be >= 0 and not all 0, got {weights}")


class DistillModule(LanguageModelModule):
    """Trains `student` against `teacher` on the same `SequenceBatch`.

    The teacher is held outside the module tree: it is in eval mode, has no gradients, and is
    neither in the checkpoint nor in the optimiser. `fresh_names` are the student's parameters
    without a source in the teacher. `logit_chunk` (see `logit_losses`) and `recompute` (see `Decoder`)
    trade time for memory. `window_start`: window layers begin with that window and end with their own
    (`narrowed`); validation has their own always. Logs every loss term while training (unweighted), and
    "val_loss" (weighted sum), "val_ce", "val_accuracy", "val_logits" and "val_embedding" on
    validation.

    With `on_policy`, a share of the steps has the divergence on the student's own speech for its loss, alone
    and unweighted: logged as "on_policy", which is NaN in the other steps as their terms are in these.
    """

    metric_names = (
        "loss",
        "ce",
        "logits",
        "embedding",
        "val_loss",
        "val_ce",
        "val_logits",
        "val_embedding",
        "val_accuracy",
    )
    monitor = "val_loss"

    def __init__(
        self,
        teacher: SpeechLM,
        student: SpeechLM,
        objective: Objective,
        optimizer: OptimizerSettings,
        fresh_names: Collection[str] = (),
        logit_chunk: int | None = None,
        recompute: bool = False,
        on_policy: OnPolicy | None = None,
        window_start: int | None = None,
    ):
        super().__init__()
        more = tuple(objective.more)
        self.metric_names = (*self.metric_names, *more, *(f"val_{name}" for name in more))
        self.on_policy = on_policy if on_policy is not None and on_policy.share else None
        if self.on_policy is not None:
            self.metric_names = (*self.metric_names, "on_policy")
        self.model, self.objective, self._logit_chunk = student, objective, logit_chunk
        student.backbone.recompute, self.window_start = recompute, window_start
        self.optimizer_settings, self.fresh_names = optimizer, fresh_names
        # In a tuple, so that nn.Module does not register it as a submodule.
        self._teacher = (teacher.eval().requires_grad_(False),)
        student.train()
        for part in self._outside_the_loss():
            part.requires_grad_(
                False
            )  # ranks wait for the gradient of every parameter that has one

    def _outside_the_loss(self) -> list[nn.Module]:
        """The student's parts that no term of the objective depends on."""
        aim, student = self.objective, self.model
        if aim.ce or aim.logits or aim.more:
            return []
        behind = {"all_layers": [student.backbone.norm], "input_embed": [student.backbone]}
        return [student.llm_decoder, *behind.get(aim.embedding, [])]

    @property
    def teacher(self) -> SpeechLM:
        """The frozen teacher."""
        return self._teacher[0]

    def on_fit_start(self) -> None:
        self.teacher.to(self.device)

    def losses(self, batch: SequenceBatch) -> tuple[dict[str, Tensor], int]:
        """The weighted "loss", its unweighted terms and "accuracy", and the number of target positions."""
        aim, here = self.objective, batch.targets != IGNORE
        layers = aim.embedding == "all_layers"
        with torch.no_grad():
            teacher_embeds = self.teacher.embed(batch.ids, batch.kinds)
            teacher_last, teacher_layers = self.teacher.hidden(
                teacher_embeds, batch.mask, layers, batch.generated
            )
        embeds = self.model.embed(batch.ids, batch.kinds)
        last, student_layers = self.model.hidden(embeds, batch.mask, layers, batch.generated)
        states = {
            "last_hidden": lambda: ([teacher_last], [last], here),
            "all_layers": lambda: (teacher_layers, student_layers, batch.mask),
            "input_embed": lambda: ([teacher_embeds], [embeds], batch.mask),
        }[aim.embedding]()
        targets = batch.targets[here]
        terms = logit_losses(
            teacher_last[here],
            last[here],
            targets,
            self.teacher.llm_decoder,
            self.model.llm_decoder,
            aim.direction,
            aim.alpha,
            self._logit_chunk,
        )
        terms["embedding"] = embedding_loss(*states)
        weights = {
            "ce": aim.ce,
            "logits": aim.logits,
            "embedding": aim.embedding_weight,
            **aim.more,
        }
        seen = Compared(self.teacher, self.model, batch, teacher_last, last, here)
        terms |= {name: LOSSES[name](seen) for name in aim.more}
        # A term of weight 0 is logged but kept out of the sum, so that it costs no backward pass.
        terms["loss"] = torch.stack([w * terms[n] for n, w in weights.items() if w]).sum()
        return terms, len(targets)

    def divergence(self, batch: SequenceBatch, direction: str, alpha: float) -> Tensor:
        """Skew KL between teacher and student at the target positions; 0 without any."""
        here = batch.targets != IGNORE
        with torch.no_grad():
            teacher_last, _ = self.teacher.hidden(
                self.teacher.embed(batch.ids, batch.kinds), batch.mask, False, batch.generated
            )
        embeds = self.model.embed(batch.ids, batch.kinds)
        last, _ = self.model.hidden(embeds, batch.mask, False, batch.generated)
        heads = (self.teacher.llm_decoder, self.model.llm_decoder)
        states = (teacher_last[here], last[here], batch.targets[here])
        return logit_losses(*states, *heads, direction, alpha, self._logit_chunk)["logits"]

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        own = self.on_policy
        if self.window_start is not None:
            done, size = self.global_step / self.trainer.max_steps, self.model.sizes.window
            self.model.backbone.window = narrowed(self.window_start, size, done)
        if own is not None and own.is_due(self.global_step):
            said = speak(self.model, batch, own.longest)
            loss = self.divergence(said, own.direction, own.alpha)
            terms, n = {"loss": loss, "on_policy": loss}, int((said.targets != IGNORE).sum())
        else:
            terms, n = self.losses(batch)
        self.log_training(terms, n)
        return terms["loss"]

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        self.model.backbone.window = self.model.sizes.window
        terms, n = self.losses(batch)
        self.log_validation({f"val_{name}": value for name, value in terms.items()}, n)
