"""Numbers that one command printed once: results/measured.csv says of each what, how much, how, when.

A row belongs to a group; a group is a table of a document. Here are also the targets that a document promises
(results/evaluation/targets.csv) and the memory of a training step.
"""

from __future__ import annotations

import textwrap

from eval.store.files import InputError
from studies.documents.sources import Row, Sources, between, markdown

FILE = "results/measured.csv"
TARGETS = "results/evaluation/targets.csv"
COVERAGE = "results/evaluation/coverage.csv"
MEMORY = "results/cosyvoice2/training_memory.json"
WAYS = {
    "plain": "plain",
    "chunked logits": "logits in chunks (`memory.logit_chunk`)",
    "chunked logits, recomputed layers": "and layers recomputed (`memory.recompute`), the recipe",
}
MISSING = "**not measured yet**"


def group_table(sources: Sources, group: str) -> str:
    """The rows of a group; columns that are empty in all of them are left out.

    Raises InputError for a group that is not there.
    """
    rows = _rows(sources, group)
    columns = [
        c for c in ("what", "where", "measured", "target", "command") if any(r[c] for r in rows)
    ]
    return markdown(columns, [[row[c] for c in columns] for row in rows])


def _rows(sources: Sources, group: str) -> list[dict[str, str]]:
    rows = [row for row in sources.text_csv(FILE) if row["group"] == group]
    if not rows:
        known = dict.fromkeys(row["group"] for row in sources.text_csv(FILE))
        raise InputError(f"no group {group!r} in {FILE}; there are: {', '.join(known)}")
    return rows


def group_list(sources: Sources, group: str) -> str:
    """The same as a list, for rows too long for a table."""
    items = []
    for row in _rows(sources, group):
        target = f" (target: {row['target']})" if row["target"] else ""
        whose = ", ".join(part for part in (row["where"], row["command"]) if part)
        text = f"**{row['what']}**: {row['measured']}{target}" + (f"; {whose}" if whose else "")
        items.append(textwrap.fill(text, 120, initial_indent="- ", subsequent_indent="  "))
    return "\n".join(items)


def measured_values(sources: Sources, name: str) -> str:
    """`<group>.<key>`: the measured value as it stands in the file."""
    values = {f"{row['group']}.{row['key']}": row["measured"] for row in sources.text_csv(FILE)}
    if name not in values:
        raise InputError(f"no row {name!r} in {FILE}; there are: {', '.join(values)}")
    return values[name]


def targets_table(sources: Sources) -> str:
    """Targets of the evaluation; a row without a number says so. {coverage} and {type1} are of COVERAGE."""
    columns = ("what", "target", "measured", "command")
    facts = {name: coverage_values(sources, name) for name in ("coverage", "type1")}
    rows = [
        [row[c].format_map(facts) or (MISSING if c == "measured" else "") for c in columns]
        for row in sources.text_csv(TARGETS)
    ]
    return markdown(list(columns), rows)


def coverage_values(sources: Sources, name: str) -> str:
    """`coverage`, `type1`: lowest and highest share of all cases, in %."""
    rows = sources.csv(COVERAGE)
    chosen = {"coverage": _intervals, "type1": _tests}
    if name not in chosen:
        raise InputError(f"no value {name!r} of {COVERAGE}; there are: {', '.join(chosen)}")
    return between([100 * row[c] for row in rows for c in chosen[name](row)], "{:.1f}")


def coverage_table(sources: Sources) -> str:
    """Share of simulated lists whose 95 % interval holds the truth, and of false alarms, in %."""
    headers = [
        "voices",
        "deviation of a voice's effect",
        "intervals of WER",
        "of SIM",
        "of differences",
        "type-I errors",
    ]
    rows = []
    for row in sources.csv(COVERAGE):
        groups = (
            [c for c in _intervals(row) if " at " in c],
            ["SIM"],
            [c for c in _intervals(row) if c.endswith("difference")],
            _tests(row),
        )
        shares = [between([100 * row[c] for c in group], "{:.1f}") for group in groups]
        rows.append([str(row["voices"]), f"{row['sd']:.2f}", *shares])
    return markdown(headers, rows)


def _tests(row: Row) -> list[str]:
    return [name for name in row if name.startswith("type I")]


def _intervals(row: Row) -> list[str]:
    return [
        name for name in row if name not in (*_tests(row), "voices", "sd", "sentences", "trials")
    ]


def memory_table(sources: Sources) -> str:
    """Memory of a training step at the paper's batch."""
    found = sources.json(MEMORY)
    fixed = sum(found["fixed_bytes"].values()) / 1e9
    rows = []
    for name, label in WAYS.items():
        way = found["ways"][name]
        layer, other = way["bytes_per_layer_and_position"], way["other_bytes_per_position"]
        numbers = [f"{way['activations_gb']:.1f} GB", f"{way['total_gb']:.0f} GB"]
        rows.append([label, f"{layer / 1e3:.1f} kB", f"{other / 1e3:.0f} kB", *numbers])
    headers = ["way", "per layer and position", "besides, per position", "activations"]
    return markdown([*headers, f"with {fixed:.1f} GB of weights, gradients, Adam"], rows)
