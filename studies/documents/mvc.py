"""MambaVoiceCloning: its claims and published numbers, from results/paper."""

from __future__ import annotations

from eval.store.files import InputError
from studies.documents.sources import Sources

CLAIMS, TABLES = "results/paper/mvc_claims.csv", "results/paper/mvc_tables.csv"
IN_A_LINE = 3  # measures
VERDICTS = ("held", "did not hold", "not settled", "not tested yet", "not testable here")


def claims_table(sources: Sources) -> str:
    """One row a claim. Raises InputError for a verdict that is none."""
    lines = ["| claim | where | here | verdict |", "|---|---|---|---|"]
    for row in sources.text_csv(CLAIMS):
        if row["verdict"] not in VERDICTS:
            raise InputError(f"{CLAIMS}: verdict {row['verdict']!r} is none of {VERDICTS}")
        cells = (row["claim"], row["published"], row["here"], f"**{row['verdict']}**")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def published_table(sources: Sources) -> str:
    """One row a system of a published table."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in sources.text_csv(TABLES):
        value = row["value"] + (f" ± {row['interval']}" if row["interval"] else "")
        key = (row["table"], row["system"], row["protocol"])
        found.setdefault(key, []).append(f"{row['measure']} {value}")
    lines = ["| table | system | published | protocol |", "|---|---|---|---|"]
    for (table, system, protocol), values in found.items():
        for first in range(0, len(values), IN_A_LINE):
            some = "; ".join(values[first : first + IN_A_LINE])
            lines.append(f"| {table} | {system} | {some} | {protocol} |")
    return "\n".join(lines)


def counts(sources: Sources, name: str) -> str:
    """`mvc.<verdict>` with _ for spaces: how many claims have it. Raises InputError for another name."""
    wanted = name.replace("_", " ")
    if wanted not in VERDICTS:
        raise InputError(f"no value mvc.{name}; there are {', '.join(VERDICTS)}")
    return str(sum(row["verdict"] == wanted for row in sources.text_csv(CLAIMS)))
