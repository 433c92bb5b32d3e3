"""How long readings of both systems drift, from results/open/long/drift.csv."""

from __future__ import annotations

from studies.documents.sources import Row, Sources, markdown, signed

LONG = "results/open/long/drift.csv"
PARTS = 5


def _readings(sources: Sources) -> dict[tuple[str, int], dict[str, Row]]:
    """(system, fewest words) -> measure -> its row."""
    found: dict[tuple[str, int], dict[str, Row]] = {}
    for row in sources.csv(LONG):
        found.setdefault((str(row["system"]), int(row["low"])), {})[str(row["measure"])] = row
    return found


def long_table(sources: Sources) -> str:
    """One row a system and length: words by fifth, what the last fifth has more than the first, slopes."""
    rows = []
    for (system, _), values in _readings(sources).items():
        minutes = float(values["duration_s"]["mean"]) / 60
        words = [f"{100 * float(values[f'wer_{i + 1}']['mean']):.1f}" for i in range(PARTS)]
        changes = [
            _with_ends(values, "wer_change", 100, 1),
            _with_ends(values, "sim_change", 1, 3),
            _with_ends(values, "pitch_cents_per_min", 1, 0),
            _with_ends(values, "level_db_per_min", 1, 1),
        ]
        n = int(values["duration_s"]["n"])
        rows.append([f"`{system}`", f"{minutes:.1f}", str(n), ", ".join(words), *changes])
    headers = ["system", "minutes", "n", "WER % by fifth"]
    more = ["WER, points", "voice", "cents/min", "dB/min"]
    return markdown([*headers, *more], rows)


def _with_ends(values: dict[str, Row], measure: str, factor: float, digits: int) -> str:
    row = values.get(measure)
    if row is None:
        return "–"
    return signed([row[end] for end in ("mean", "lower", "upper")], factor, digits)
