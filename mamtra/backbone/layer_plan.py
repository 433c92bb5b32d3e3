"""Which layers stay attention: (number of layers, ratio, placement) -> layer plan.

A ratio `1:k` keeps one attention layer for every k layers of another mixer, Mamba if nothing else is said;
`1:0` is all attention and `0:1` has none. Placement names say where the attention layers are (`placements`).
Measured placements keep the layers with the highest importance scores (`mamtra.transfer.measure_layers`).
"""

import re
from collections.abc import Sequence

from mamtra.backbone.placements import CLOSED_FORM

ATTENTION = "attention"
MAMBA = "mamba"
WINDOW = "window"
DELTANET = "deltanet"
LETTERS = {
    ATTENTION: "A",
    MAMBA: "M",
    WINDOW: "W",
    DELTANET: "G",
}  # of every mixer in `mamtra.backbone.mixers`
RATIOS = ("1:0", "1:1", "1:2", "1:3", "1:5", "1:11", "0:1")
MEASURED = ("cosine", "kl", "swap", "wer", "oas")
PLACEMENTS = (*CLOSED_FORM, *MEASURED)

LayerPlan = tuple[str, ...]


def parse_ratio(ratio: str) -> tuple[int, int]:
    """`"1:3"` or `"1to3"` -> (1, 3). Raises ValueError listing RATIOS for anything else."""
    match = re.fullmatch(r"(\d+)(?::|to)(\d+)", str(ratio).strip().lower())
    name = f"{int(match[1])}:{int(match[2])}" if match else None
    if name not in RATIOS:
        raise ValueError(
            f"unknown ratio {ratio!r}; valid ratios (attention:other): {', '.join(RATIOS)}"
        )
    attention, mamba = name.split(":")
    return int(attention), int(mamba)


def _check_placement(placement: str) -> str:
    if placement not in PLACEMENTS:
        raise ValueError(
            f"unknown placement {placement!r}; valid placements: {', '.join(PLACEMENTS)}"
        )
    return placement


def attention_layers(
    n_layers: int, ratio: str, placement: str, scores: Sequence[float] | None = None
) -> tuple[int, ...]:
    """Indices of the layers that stay attention, ascending. Errors as `layer_plan`."""
    attention, mamba = parse_ratio(ratio)
    _check_placement(placement)
    if n_layers < 1:
        raise ValueError(f"n_layers must be at least 1, got {n_layers}")
    period = attention + mamba
    if n_layers % period:
        raise ValueError(f"ratio {ratio} needs a multiple of {period} layers, got {n_layers}")
    count = n_layers // period * attention
    if placement in MEASURED:
        if scores is None:
            raise ValueError(f"placement {placement} needs importance scores: one for each layer")
        if len(scores) != n_layers:
            raise ValueError(f"{len(scores)} importance scores for {n_layers} layers")
        # The earlier of two equal layers stays attention.
        ranked = sorted(range(n_layers), key=lambda layer: (-scores[layer], layer))
        return tuple(sorted(ranked[:count]))
    if not count:
        return ()
    kept = tuple(sorted(set(CLOSED_FORM[placement](n_layers, count, period))))
    if len(kept) != count or not 0 <= kept[0] <= kept[-1] < n_layers:
        raise ValueError(
            f"placement {placement} gives layers {kept}: not {count} of 0..{n_layers - 1}"
        )
    return kept


def layer_plan(
    n_layers: int,
    ratio: str,
    placement: str,
    scores: Sequence[float] | None = None,
    mixer: str = MAMBA,
) -> LayerPlan:
    """Tuple of "attention" and the converted layers' `mixer`, one per layer, first layer first.

    scores: importance of each layer, for the MEASURED placements. Raises ValueError for an unknown
    ratio or placement (listing the valid ones), for a layer count that the ratio's period does not
    divide (naming both), for a measured placement without one score per layer, and for an unknown mixer.
    """
    if mixer not in LETTERS or mixer == ATTENTION:
        valid = ", ".join(kind for kind in LETTERS if kind != ATTENTION)
        raise ValueError(f"unknown mixer {mixer!r} for converted layers; valid mixers: {valid}")
    kept = set(attention_layers(n_layers, ratio, placement, scores))
    return tuple(ATTENTION if i in kept else mixer for i in range(n_layers))


def check_plan(plan: LayerPlan, n_layers: int) -> LayerPlan:
    """The plan as a tuple; ValueError if its length or an entry is wrong."""
    if len(plan) != n_layers:
        raise ValueError(f"the layer plan has {len(plan)} entries for {n_layers} layers")
    for i, kind in enumerate(plan):
        if kind not in LETTERS:
            raise ValueError(
                f"layer {i} of the plan is {kind!r}; valid kinds: {', '.join(LETTERS)}"
            )
    return tuple(plan)


def parse_plan(letters: str) -> LayerPlan:
    """ "AMMM" or "A M M M" -> the plan. ValueError for letters that no mixer has, or none."""
    kinds = {letter: kind for kind, letter in LETTERS.items()}
    found = letters.replace(" ", "").upper()
    if not found or set(found) - kinds.keys():
        known = ", ".join(f"{letter} ({kind})" for letter, kind in kinds.items())
        raise ValueError(f"a layer plan is one letter per layer, not {letters!r}; valid: {known}")
    return tuple(kinds[letter] for letter in found)


def plan_letters(plan: Sequence[str]) -> str:
    """One letter per layer without spaces: "AMMMAMMM"."""
    return "".join(LETTERS[kind] for kind in plan)


def attention_count(plan: Sequence[str]) -> int:
    """Number of attention layers."""
    return sum(kind == ATTENTION for kind in plan)


def draw(plan: LayerPlan) -> str:
    """One letter per layer, first layer first: "A M M M A M M M"."""
    return " ".join(plan_letters(plan))


def plan_name(ratio: str, placement: str) -> str:
    """Name for folders and tables: ("1:3", "front") -> "1to3-front"."""
    attention, mamba = parse_ratio(ratio)
    return f"{attention}to{mamba}-{_check_placement(placement)}"
