"""Seeds of what is drawn for one text."""

from collections.abc import Sequence


def piece_seeds(rows: Sequence[int], seeds: Sequence[int]) -> list[int]:
    """A seed for each piece, `rows` naming the text that it is of; the first piece of a text has the text's
    own seed, those after it draw other numbers."""
    made, counts = [], [0] * len(seeds)
    for row in rows:
        other = (seeds[row] + counts[row] * 0x9E3779B97F4A7C15) % (2**63 - 1)
        made.append(other if counts[row] else seeds[row])
        counts[row] += 1
    return made
