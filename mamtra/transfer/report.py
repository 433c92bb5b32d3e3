"""What a transfer did: every tensor's origin, and how close the student starts to the teacher."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import nn

from mamtra.backbone.layer_plan import LETTERS, LayerPlan
from mamtra.transfer.pieces import FRESH, Piece

FROZEN = "frozen"


def _without_layer(name: str) -> tuple[str, int | None]:
    """("backbone.layers.3.mlp.x") -> ("*.mlp.x", 3); other names as they are, with None."""
    match = re.fullmatch(r"backbone\.layers\.(\d+)\.(.*)", name)
    return (f"*.{match[2]}", int(match[1])) if match else (name, None)


@dataclass(frozen=True)
class TransferReport:
    """rows: one Piece per student tensor or named section, with full parameter names; the status of
    a tensor that will not be trained is "frozen". cosine: mean cosine between teacher and student
    residual streams after each layer before any training, or None when no batch was given.
    """

    plan: LayerPlan
    init: str
    rows: tuple[Piece, ...]
    cosine: tuple[float, ...] | None

    @property
    def fresh_parameter_names(self) -> tuple[str, ...]:
        """Parameters of which no part was copied: candidates for their own learning rate."""
        origin: dict[str, bool] = {}
        for row in self.rows:
            name = row.name.partition("[")[0]
            origin[name] = origin.get(name, True) and row.status == FRESH
        return tuple(name for name, fresh in origin.items() if fresh)

    def with_frozen(self, student: nn.Module) -> "TransferReport":
        """The same report with "frozen" for every tensor of `student` that needs no gradient."""
        frozen = {name for name, p in student.named_parameters() if not p.requires_grad}
        rows = (
            replace(row, status=FROZEN) if row.name.partition("[")[0] in frozen else row
            for row in self.rows
        )
        return replace(self, rows=tuple(rows))

    def counts(self) -> dict[str, int]:
        """Number of values per status."""
        totals: dict[str, int] = {}
        for row in self.rows:
            totals[row.status] = totals.get(row.status, 0) + math.prod(row.shape)
        return totals

    def _merged(self) -> Iterator[tuple[Piece, list[int]]]:
        """Each distinct piece, with * for the layer number, and the layers it stands for."""
        layers: dict[Piece, list[int]] = {}
        for row in self.rows:
            name, number = _without_layer(row.name)
            source, _ = _without_layer(row.source)
            module = name.rpartition("[")[0] or name
            module = ".".join(module.split(".")[:-2]) + "."
            source = "same tensor" if source == name else source.removeprefix(module)
            found = layers.setdefault(replace(row, name=name, source=source), [])
            found.extend([] if number is None else [number])
        for piece, numbers in layers.items():
            yield piece, sorted(numbers)

    def tensor_table(self) -> Table:
        """Origin of every tensor, layers with the same origin on one line."""
        totals = ", ".join(f"{count:,} {status}" for status, count in self.counts().items())
        table = Table(title=f"transfer, init={self.init}: {totals}", title_justify="left")
        table.add_column("tensor", no_wrap=True)
        for column in ("layers", "shape", "status", "source"):
            table.add_column(column)
        for piece, numbers in self._merged():
            layers = "all" if len(numbers) == len(self.plan) else " ".join(map(str, numbers))
            shape = " x ".join(map(str, piece.shape))
            # Text, because a string's square brackets would be read as markup.
            cells = (piece.name, layers, shape, piece.status, piece.source)
            table.add_row(*(Text(cell) for cell in cells))
        return table

    def cosine_table(self) -> Table:
        """Step-0 cosine to the teacher per layer. ValueError when it was not measured."""
        if self.cosine is None:
            raise ValueError("no batch was given to measure the cosine to the teacher on")
        table = Table(title="cosine to the teacher before training", title_justify="left")
        for column in ("layer", "mixer", "cosine"):
            table.add_column(column, justify="right")
        for i, (kind, cosine) in enumerate(zip(self.plan, self.cosine, strict=True)):
            table.add_row(str(i), LETTERS[kind], f"{cosine:.3f}")
        return table

    def print(self, console: Console | None = None) -> None:
        """Both tables; the second only where it was measured."""
        target = Console() if console is None else console
        target.print(self.tensor_table())
        if self.cosine is not None:
            target.print(self.cosine_table())
