"""What the shipped MambaVoiceCloning was to reach, what must be, and what it reaches; verdicts are computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from eval.store.files import InputError
from studies.documents.mvc_arms import OURS, SYSTEMS, TRACKERS, prosody_of
from studies.documents.mvc_cost import cost_values
from studies.documents.sources import Row, Sources, markdown, percent, signed

VERDICTS = ("met", "only what must be", "missed")
LISTS = ("typed", "disorder")  # other texts than the test list's
INF = float("inf")
Means = Mapping[str, Mapping[str, float]]  # system -> measure -> mean


@dataclass(frozen=True)
class Facts:
    """The table of both systems, seconds of computing per second of speech without the vocoder, typed text."""

    words: dict[str, Row]  # system -> its row of the leaderboard
    prosody: Means
    rtf: float
    typed: (
        Row  # the model's row on sentences that somebody typed; differences are to the recordings
    )


@dataclass(frozen=True)
class Goal:
    """The range in which a value should be, and in which it must be. `form` writes a value and its limits."""

    what: str
    of: Callable[[Facts], float]
    target: tuple[float, float]
    must: tuple[float, float]
    form: str

    def verdict(self, facts: Facts) -> str:
        """One of VERDICTS."""
        value = self.of(facts)
        met, enough = (low <= value <= high for low, high in (self.target, self.must))
        return VERDICTS[0] if met else VERDICTS[1] if enough else VERDICTS[2]

    def row(self, facts: Facts) -> list[str]:
        """A line of the table."""
        verdict = self.verdict(facts)
        return [
            self.what,
            self._limits(self.target),
            self._limits(self.must),
            self._said(self.of(facts)),
            f"**{verdict}**" if verdict == VERDICTS[2] else verdict,
        ]

    def _limits(self, ends: tuple[float, float]) -> str:
        low, high = ends
        if low == -INF:
            return f"<= {self._said(high)}"
        if high == INF:
            return f">= {self._said(low)}"
        return f"{self._said(low)} to {self._said(high)}"

    def _said(self, value: float) -> str:
        return format(value, self.form)


def _over_recordings(facts: Facts) -> float:
    own, base = (float(facts.words[name]["wer_corpus"]) for name in (OURS, "recordings"))
    return 100 * (own - base)


def _typed(facts: Facts) -> float:
    return 100 * float(facts.typed["wer_difference"])


def _voice(facts: Facts) -> float:
    return float(facts.words[OURS]["sim_prompt"]) - float(facts.words[OURS]["sim_other"])


def _over_vocoder(facts: Facts) -> float:
    return facts.prosody[OURS]["mcd_db"] - facts.prosody["vocoder"]["mcd_db"]


def _under_flat(facts: Facts) -> float:
    own, flat = (facts.prosody[name]["f0_rmse_cents"] for name in (OURS, "flat"))
    return 100 * (1 - own / flat)


def _ours(measure: str) -> Callable[[Facts], float]:
    return lambda facts: facts.prosody[OURS][measure]


GOALS = (
    Goal("WER over the recordings', points", _over_recordings, (-INF, 3), (-INF, 6), "+.1f"),
    Goal("the same, 20 typed sentences", _typed, (-INF, 6), (-INF, 6), "+.1f"),
    Goal("GE2E, own less other prompts", _voice, (0.10, INF), (0.08, INF), ".3f"),
    Goal("DistillMOS", lambda f: float(f.words[OURS]["mos"]), (3.3, INF), (3.0, INF), ".2f"),
    Goal("MCD over the vocoder's, dB", _over_vocoder, (-INF, 1.5), (-INF, 2.5), "+.2f"),
    Goal("F0 error under that of `flat`, %", _under_flat, (25, INF), (25, INF), ".0f"),
    Goal("spread of F0 in the recordings'", _ours("f0_std_ratio"), (0.8, 1.1), (0.7, 1.2), ".2f"),
    Goal("length in the recordings'", _ours("length_ratio"), (0.97, 1.03), (0.95, 1.05), ".2f"),
    Goal("RTF without vocoder, one thread", lambda f: f.rtf, (-INF, 0.05), (-INF, 0.10), ".3f"),
)


def _facts(sources: Sources) -> Facts:
    words = {str(row["system"]): row for row in sources.csv(f"{SYSTEMS}/leaderboard.csv")}
    prosody = prosody_of(sources, f"{SYSTEMS}/prosody.csv", TRACKERS[0])
    typed = _rows(sources, "typed")[OURS]
    return Facts(words, prosody, float(cost_values(sources, "rtf")), typed)


def targets_table(sources: Sources) -> str:
    """One line a goal."""
    facts = _facts(sources)
    headers = ["what", "target", "must", "measured", ""]
    return markdown(headers, [goal.row(facts) for goal in GOALS])


def target_values(sources: Sources, name: str) -> str:
    """`goals`, `met`, `below` (only what must be): how many; `missed`: which.
    Raises InputError for another name."""
    facts = _facts(sources)
    verdicts = [goal.verdict(facts) for goal in GOALS]
    if name == "missed":
        lost = [g.what for g, v in zip(GOALS, verdicts, strict=True) if v == VERDICTS[2]]
        return "; ".join(lost) or "none"
    counts = {
        "goals": len(GOALS),
        "met": verdicts.count("met"),
        "below": verdicts.count(VERDICTS[1]),
    }
    if name not in counts:
        raise InputError(
            f"no value mvc_targets.{name}; there are: {', '.join([*counts, 'missed'])}"
        )
    return str(counts[name])


def list_values(sources: Sources, name: str) -> str:
    """`<list>.<system>`: its WER % there; `<list>.<system>.gap`: points above the recordings with interval.
    Raises InputError for another name."""
    place, _, rest = name.partition(".")
    system, _, part = rest.partition(".")
    row = _rows(sources, place).get(system) if place in LISTS else None
    if row is None or part not in ("", "gap"):
        raise InputError(
            f"no value mvc_lists.{name}: <{' or '.join(LISTS)}>.<system> or .gap behind it"
        )
    if not part:
        return percent(float(row["wer_corpus"]), 1)
    return signed([row[f"wer_difference{end}"] for end in ("", "_low", "_high")], 100, 1)


def _rows(sources: Sources, place: str) -> dict[str, Row]:
    return {str(row["system"]): row for row in sources.csv(f"results/open/mvc/{place}.csv")}
