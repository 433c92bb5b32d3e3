"""What the shipped MambaVoiceCloning was to reach, what must be, and what it reaches; verdicts are computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from eval.store.files import InputError
from studies.documents.long_readings import LONG
from studies.documents.mvc_arms import MODULES, OURS, SYSTEMS, TRACKERS, cells, prosody_of
from studies.documents.mvc_cost import cost_values
from studies.documents.sources import Row, Sources, markdown, percent, signed

VERDICTS = ("met", "only what must be", "missed")
WHOLE_LIST = "results/open/mvc/whole_list/leaderboard.csv"
RTF, BORDERS = "results/open/mvc/rtf.json", "results/open/mvc/aligner.json"
ALIGNERS = {"borders": BORDERS, "borders_600": "results/open/mvc/aligner_600.json"}
DRIFTS = ("wer_change", "sim_change", "pitch_cents_per_min", "level_db_per_min")
LISTS = ("typed", "disorder")  # other texts than the test list's
INF = float("inf")
Means = Mapping[str, Mapping[str, float]]  # system -> measure -> mean


@dataclass(frozen=True)
class Facts:
    """What was measured, by where it lies: see `_facts`."""

    words: dict[str, Row]  # system -> its row of the leaderboard of 30 sentences
    prosody: Mapping[str, Means]  # tracker -> the same systems
    rtf: float  # seconds of computing per second of speech without the vocoder
    typed: (
        Row  # the model's row on sentences that somebody typed; differences are to the recordings
    )
    all_words: dict[str, Row]  # on the whole list; differences are to the teacher
    faster: float  # how many times the teacher takes what the model takes, in turns
    mean_over_recordings: float  # WER of `conv` by its mean, less the recordings'
    ahead: float  # WER of the arm that looks 19 tokens ahead, less that of `mvc`
    slopes: Sequence[Row]  # of the longest readings
    borders: Mapping[str, float]  # of the aligner, on recordings that it did not learn from


@dataclass(frozen=True)
class Goal:
    """The range in which a value should be, and in which it must be, where the brief has one. `form` writes a
    value and its limits."""

    what: str
    of: Callable[[Facts], float]
    target: tuple[float, float]
    must: tuple[float, float] | None
    form: str

    def verdict(self, facts: Facts) -> str:
        """One of VERDICTS."""
        value = self.of(facts)
        met, enough = (
            low <= value <= high for low, high in (self.target, self.must or self.target)
        )
        return VERDICTS[0] if met else VERDICTS[1] if enough else VERDICTS[2]

    def row(self, facts: Facts) -> list[str]:
        """A line of the table."""
        verdict = self.verdict(facts)
        return [
            self.what,
            self._limits(self.target),
            self._limits(self.must) if self.must else "",
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


def _voice(facts: Facts) -> float:
    return float(facts.words[OURS]["sim_prompt"]) - float(facts.words[OURS]["sim_other"])


def _over_vocoder(facts: Facts) -> float:
    means = facts.prosody[TRACKERS[0]]  # MCD needs no tracker
    return means[OURS]["mcd_db"] - means["vocoder"]["mcd_db"]


def _under_flat(facts: Facts) -> float:
    """By the tracker that sees less of it: a claim about pitch rests on both."""
    errors = [
        (means[OURS]["f0_rmse_cents"], means["flat"]["f0_rmse_cents"])
        for means in facts.prosody.values()
    ]
    return min(100 * (1 - own / flat) for own, flat in errors)


def _spread(facts: Facts) -> float:
    """By the tracker that finds it farther from 1."""
    return max((m[OURS]["f0_std_ratio"] for m in facts.prosody.values()), key=lambda r: abs(r - 1))


def _length(facts: Facts) -> float:
    return facts.prosody[TRACKERS[0]][OURS]["length_ratio"]


def _drifts(facts: Facts) -> float:
    """How many of the measures of long readings have an interval without 0."""
    return sum(not float(row["lower"]) <= 0 <= float(row["upper"]) for row in facts.slopes)


GOALS = (
    Goal("WER over the recordings', points", _over_recordings, (-INF, 3), (-INF, 6), "+.1f"),
    Goal(
        "WER over the teacher's, 600 sentences, points",
        lambda f: 100 * float(f.all_words[OURS]["wer_difference"]),
        *((-INF, 0), None, "+.1f"),
    ),
    Goal(
        "WER over the recordings', 20 typed sentences, points",
        lambda f: 100 * float(f.typed["wer_difference"]),
        *((-INF, 6), (-INF, 6), "+.1f"),
    ),
    Goal(
        "WER of `conv` by its mean over the recordings', points",
        lambda f: 100 * f.mean_over_recordings,
        *((-INF, 6), (-INF, 12), "+.1f"),
    ),
    Goal("GE2E, own less other prompts", _voice, (0.10, INF), (0.08, INF), ".3f"),
    Goal("DistillMOS", lambda f: float(f.words[OURS]["mos"]), (3.3, INF), (3.0, INF), ".2f"),
    Goal("MCD over the vocoder's, dB", _over_vocoder, (-INF, 1.5), (-INF, 2.5), "+.2f"),
    Goal(
        "F0 error under that of `flat`, both trackers, %", _under_flat, (25, INF), (25, INF), ".0f"
    ),
    Goal("spread of F0 in the recordings', both trackers", _spread, (0.8, 1.1), (0.7, 1.2), ".2f"),
    Goal("length in the recordings'", _length, (0.97, 1.03), (0.95, 1.05), ".2f"),
    Goal("RTF without vocoder, one thread", lambda f: f.rtf, (-INF, 0.05), (-INF, 0.10), ".3f"),
    Goal("times as fast as the teacher, in turns", lambda f: f.faster, (3, INF), None, ".1f"),
    Goal(
        "look-ahead of 19 phonemes, WER, points",
        *(lambda f: 100 * f.ahead, (-INF, 1), None, "+.1f"),
    ),
    Goal(
        "measures of four minutes in one go that drift, of 4",
        *(_drifts, (-INF, 0), None, ".0f"),
    ),
    Goal(
        "the aligner's word borders, ms",
        *(lambda f: f.borders["word_border_ms"], (-INF, 25), (-INF, 35), ".0f"),
    ),
    Goal(
        "of them within 50 ms, %",
        *(lambda f: 100 * f.borders["word_border_within_50_ms"], (95, INF), None, ".1f"),
    ),
)


def _facts(sources: Sources) -> Facts:
    def rows(name: str) -> dict[str, Row]:
        return {str(row["system"]): row for row in sources.csv(name)}

    conv = float(np.mean([float(r["wer_corpus"]) for r in cells(sources)["conv"].values()]))
    recordings = float(rows("results/open/teacher/test.csv")["recordings"]["wer_corpus"])
    (ahead,) = (
        float(row["difference"])
        for row in sources.csv(f"{MODULES}/compare.csv")
        if row["measure"] == "wer" and "lookahead=19" in str(row["system"])
    )
    read = [row for row in sources.csv(LONG) if row["system"] == OURS]
    longest = max(int(row["low"]) for row in read)
    return Facts(
        words=rows(f"{SYSTEMS}/leaderboard.csv"),
        prosody={t: prosody_of(sources, f"{SYSTEMS}/prosody.csv", t) for t in TRACKERS},
        rtf=float(cost_values(sources, "rtf")),
        typed=_rows(sources, "typed")[OURS],
        all_words=rows(WHOLE_LIST),
        faster=_faster(sources.json(RTF)["rounds"]),
        mean_over_recordings=conv - recordings,
        ahead=ahead,
        slopes=[row for row in read if int(row["low"]) == longest and row["measure"] in DRIFTS],
        borders=sources.json(BORDERS)["valid"],
    )


def _faster(rounds: Sequence[Row]) -> float:
    """How many times the first system of `tools.bench_rtf` takes what the second takes: the median round."""
    rtf = {
        (one["turn"], one["system"]): one["text_to_frames_s"] / one["speech_s"] for one in rounds
    }
    turns = sorted({turn for turn, _ in rtf})
    return median(rtf[turn, "first"] / rtf[turn, "second"] for turn in turns)


def targets_table(sources: Sources) -> str:
    """One line a goal."""
    facts = _facts(sources)
    headers = ["what", "target", "must", "measured", ""]
    return markdown(headers, [goal.row(facts) for goal in GOALS])


def target_values(sources: Sources, name: str) -> str:
    """How many: `goals`, `met`, `below` (only what must be), `missed`. `borders`, `borders_600`: how far the
    word borders of the aligner are off, in ms, and those of one with 600 steps. Raises InputError."""
    facts = _facts(sources)
    verdicts = [goal.verdict(facts) for goal in GOALS]
    met, below, missed = map(verdicts.count, VERDICTS)
    counts = {"goals": len(GOALS), "met": met, "below": below, "missed": missed}
    if name in ALIGNERS:
        return f"{sources.json(ALIGNERS[name])['valid']['word_border_ms']:.0f}"
    if name not in counts:
        known = ", ".join([*counts, *ALIGNERS])
        raise InputError(f"no value mvc_targets.{name}; there are: {known}")
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
