"""stage=advise: which plan fits a GPU beside all else that runs there, from counted bytes.

Weights and states of the language model are counted as the allocator would give them; what else there is
(codec, activations, other models, what the allocator reserves) is `other_gb`. One GB is 1e9 bytes. Speech is
one pass of `seconds`, all streams at their full length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from eval.console import number_table
from eval.efficiency.bandwidth import step_bytes
from eval.efficiency.memory import Counted, counted
from eval.efficiency.settings import Advise
from eval.store.files import InputError
from mamtra.lm.checkpoint import CheckpointError

TEACHER = "1to0"
GB = 1e9


@dataclass(frozen=True)
class Need:
    """What one plan takes. `streams`: the most that fit at this length."""

    plan: str
    weight_bytes: int
    state_bytes: int  # of all streams asked for
    step_bytes: int
    streams: int
    fits: bool

    @property
    def total_bytes(self) -> int:
        return self.weight_bytes + self.state_bytes


def positions(s: Advise) -> tuple[int, int]:
    """(positions of one stream, those of them that are not generated)."""
    conditioning = s.prompt_positions + math.ceil(s.text_per_s * s.seconds)
    return conditioning + math.ceil(s.tokens_per_s * s.seconds), conditioning


def needs(s: Advise) -> list[Need]:
    """The teacher first, then the plans in the order of the settings. Raises InputError for an unknown plan."""
    found = []
    for plan in dict.fromkeys([TEACHER, *s.plans]):
        try:
            model = counted(
                s.like, plan, s.dtype, mixer=s.mixer, state=s.state, state_dtype=s.state_dtype
            )
        except CheckpointError:
            raise
        except ValueError as error:
            raise InputError(f"plans={list(s.plans)} like={s.like}: {error}") from None
        found.append(_need(plan, model, s))
    return found


def _need(plan: str, model: Counted, s: Advise) -> Need:
    length, conditioning = positions(s)
    one, two = (model.state_bytes(n, length, conditioning) for n in (1, 2))
    room = (s.gpu_gb - s.other_gb) * GB - model.weight_bytes - (one - (two - one))
    state = model.state_bytes(s.streams, length, conditioning)
    most = max(0, int(room // (two - one)))
    moved = step_bytes(model.lm, length, s.streams)
    return Need(plan, model.weight_bytes, state, moved, most, most >= s.streams)


def advice(found: Sequence[Need], s: Advise) -> str:
    """The answer in words: the plan that changes least among those that fit."""
    teacher, budget = found[0], (s.gpu_gb - s.other_gb) * GB
    asked = f"{s.streams} streams of {s.seconds:g} s in {budget / GB:.2f} GB"
    least = min(found, key=lambda need: need.total_bytes)
    if teacher.fits:
        saved = teacher.total_bytes - least.total_bytes
        more = (
            f"{least.plan} would free {saved / GB:.2f} GB of it"
            if saved > 0
            else "no plan here takes less"
        )
        return (
            f"Stay with the teacher: {asked} need {teacher.total_bytes / GB:.2f} GB, and it has room for "
            f"{teacher.streams} streams. {more}."
        )
    for need in found[1:]:
        if need.fits:
            return (
                f"{need.plan}: {asked} need {need.total_bytes / GB:.2f} GB, and it has room for "
                f"{need.streams} streams. The teacher needs {teacher.total_bytes / GB:.2f} GB and has room "
                f"for {teacher.streams}."
            )
    most = max(found, key=lambda need: need.streams)
    return (
        f"Nothing fits: {asked} need at least {least.total_bytes / GB:.2f} GB ({least.plan}). The most is "
        f"{most.streams} streams, with {most.plan}."
    )


def advise(s: Advise, console: Console) -> int:
    """Print table and answer; exit code 0. Raises InputError, and CheckpointError for a folder `like`."""
    found = needs(s)
    length, conditioning = positions(s)
    rows = [
        [
            need.plan,
            f"{need.weight_bytes / GB:.2f}",
            f"{need.state_bytes / s.streams / 1e6:,.1f}",
            f"{need.total_bytes / GB:.2f}",
            "yes" if need.fits else "no",
            f"{need.streams:,}",
            f"{need.step_bytes / found[0].step_bytes:.2f}",
        ]
        for need in found
    ]
    headers = (
        "plan",
        "weights GB",
        "MB a stream",
        "all GB",
        "fits",
        "most streams",
        "bytes a step",
    )
    title = f"{s.like}, {s.dtype}, {length:,} positions, {conditioning:,} of them text and prompt"
    console.print(number_table(title, headers, rows))
    console.print(
        "bytes a step: moved for one token of every stream, as a multiple of the teacher's",
        markup=False,
        soft_wrap=True,
    )
    console.print(advice(found, s), markup=False, highlight=False, soft_wrap=True)
    return 0
