"""Where the values of a student's tensors come from."""

from dataclasses import dataclass

COPIED = "copied"
FRESH = "fresh"


@dataclass(frozen=True)
class Piece:
    """One tensor, or one named section of its rows, and where its values come from."""

    name: str  # parameter name, with [section] for rows of a fused projection
    shape: tuple[int, ...]
    status: str  # COPIED or FRESH
    source: str  # teacher tensor, or how a fresh tensor was made
