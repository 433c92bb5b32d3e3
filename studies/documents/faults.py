"""Counts of `make chaos`, from the committed runs of one day (`write_counts` of tools.chaos joins them)."""

from __future__ import annotations

from studies.documents.sources import Row, Sources, markdown

FILE = "results/chaos/2026-11-26.csv"
KINDS = ("kill", "two", "full disk", "cut", "flip")


def faults_table(sources: Sources) -> str:
    """Survived of injected, of each stage and kind of fault."""
    rows = sources.csv(FILE)
    stages = dict.fromkeys(row["stage"] for row in rows)
    lines = []
    for stage in stages:
        own = {row["fault"]: row for row in rows if row["stage"] == stage}
        cells = [_share(own[kind]) if kind in own else "–" for kind in KINDS]
        lost, again = (
            sum(int(row[n]) for row in own.values()) for n in ("rows_lost", "repeated_steps")
        )
        lines.append([f"`{stage}`", *cells, str(lost), str(again)])
    return markdown(["stage", *KINDS, "rows lost", "steps done again"], lines)


def _share(row: Row) -> str:
    named = f" ({int(row['named'])} named)" if row["named"] else ""
    return f"{int(row['survived'])} of {int(row['injected'])}{named}"


def fault_values(sources: Sources, name: str) -> str:
    """`kills`, `all`: survived of injected; `again`: the most steps that a kill cost."""
    rows = sources.csv(FILE)
    if name == "again":
        return str(max(int(row["repeated_steps"]) for row in rows))
    own = [row for row in rows if name == "all" or row["fault"] == "kill"]
    counts = [sum(int(row[n]) for row in own) for n in ("survived", "injected")]
    return f"{counts[0]} of {counts[1]}"
