"""The comparison of MambaVoiceCloning's arms, and both systems side by side: from results/open/mvc."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import pandas as pd

from eval.store.files import InputError
from studies.documents.sources import Row, Sources, markdown, percent, signed

GRID, SYSTEMS = "results/open/mvc/grid", "results/open/mvc/systems"
MODULES = "results/open/mvc/modules"  # one seed
OURS = "mvc"  # the baseline of both tables of differences
MAIN = (OURS, "conv", "bilstm", "attention")
TRACKERS = ("pyin", "nccf")
# measure -> (header, factor, digits); of the first tracker
PROSODY = {
    "f0_rmse_cents": ("F0, cents", 1, 0),
    "contour_rmse_cents": ("contour, cents", 1, 0),
    "f0_correlation": ("r of F0", 1, 2),
    "f0_std_ratio": ("spread of F0", 1, 2),
    "mcd_db": ("MCD, dB", 1, 2),
    "length_ratio": ("length", 1, 2),
}
# the primary comparison: name in the table -> (unit factor, digits)
PRIMARY = {
    "wer": ("WER, points", 100, 1),
    "wer_guarded": ("guarded WER, points", 100, 1),
    "f0_rmse_cents": ("F0, cents", 1, 1),
    "mcd_db": ("MCD, dB", 1, 3),
}


def cells(sources: Sources) -> dict[str, dict[int, Row]]:
    """Arm -> seed -> its row, finished cells of the plain arms alone; the main arms first."""
    found: defaultdict[str, dict[int, Row]] = defaultdict(dict)
    for row in sources.csv(f"{GRID}/cells.csv"):
        if row["status"] == "done" and not _said(row["overrides"]):
            found[str(row["conditioning"])][int(row["seed"])] = row
    order = sorted(found, key=lambda arm: (MAIN.index(arm) if arm in MAIN else len(MAIN), arm))
    return {arm: dict(sorted(found[arm].items())) for arm in order}


def _said(value: object) -> str:
    return "" if pd.isna(value) else str(value)  # type: ignore[arg-type]


def arms_table(sources: Sources) -> str:
    """One row an arm: words of every seed, similarity, prosody as means over its seeds."""
    prosody = prosody_of(sources, f"{GRID}/prosody.csv", TRACKERS[0])
    rows = []
    for arm, seeds in cells(sources).items():
        wers = [float(row["wer_corpus"]) for row in seeds.values()]
        gap = np.mean([row["sim_prompt"] - row["sim_other"] for row in seeds.values()])
        names = [arm if not seed else f"{arm}/{seed}" for seed in seeds]
        means = [
            f"{np.mean([prosody[name][measure] for name in names]):.{digits}f}"
            for measure, (_, _, digits) in PROSODY.items()
        ]
        each = ", ".join(percent(wer, 1) for wer in wers)
        guarded = percent(float(np.mean([row["wer_guarded"] for row in seeds.values()])), 1)
        whole = percent(float(np.mean(wers)), 1)
        rows.append([f"`{arm}`", each, whole, guarded, f"{gap:.3f}", *means])
    headers = [
        "arm",
        "WER % by seed",
        "mean",
        "guarded",
        "voice",
        *(part[0] for part in PROSODY.values()),
    ]
    return markdown(headers, rows)


def prosody_of(sources: Sources, path: str, tracker: str) -> Mapping[str, Mapping[str, float]]:
    """System -> measure -> mean."""
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for row in sources.csv(path):
        if row["tracker"] == tracker:
            found[str(row["system"])][str(row["measure"])] = float(row["mean"])
    return found


def gaps_of(sources: Sources, grid: str = GRID) -> dict[tuple[str, str], Row]:
    """(measure, arm) -> what the arm has more than `mvc`; pitch by the first tracker."""
    words = {
        (str(row["measure"]), str(row["system"])): {
            **row,
            "detectable": row["minimum_detectable_difference"],
        }
        for row in sources.csv(f"{grid}/compare.csv")
    }
    sound = {
        (str(row["measure"]), str(row["system"])): row
        for row in sources.csv(f"{grid}/prosody_compare.csv")
        if row["tracker"] == TRACKERS[0]
    }
    found = {**words, **sound}
    if wrong := {str(row["baseline"]) for row in found.values()} - {OURS}:
        raise InputError(f"{grid}: compared with {sorted(wrong)[0]}, not with {OURS}")
    return found


def _turned(row: Row, factor: float, digits: int) -> str:
    """`mvc` less the arm with its interval, of a row that has the arm less `mvc`."""
    ends = (row["difference"], row["difference_high"], row["difference_low"])
    return signed(ends, -factor, digits)


def primary_table(sources: Sources) -> str:
    """`mvc` less the other main arms: difference, p after Holm over the three, what could have been found."""
    gaps, rows = gaps_of(sources), []
    for measure, (header, factor, digits) in PRIMARY.items():
        for arm in MAIN[1:]:
            row = gaps.get((measure, arm))
            if row is None:
                raise InputError(f"{GRID}: no difference of {measure} between {OURS} and {arm}")
            rows.append(
                [
                    header,
                    f"`{OURS}` - `{arm}`",
                    _turned(row, factor, digits),
                    f"{float(row['p_holm']):.3f}",
                    f"{factor * float(row['detectable']):.{digits}f}",
                    str(int(row["seeds"])),
                ]
            )
    headers = ["measure", "arms", "difference", "p after Holm", "detectable", "seeds"]
    return markdown(headers, rows)


# measure -> (header, factor, digits) of what an arm of one seed has more than `mvc`
MORE = {
    "wer_guarded": ("guarded WER, points", 100, 1),
    "perfect": ("without error, points", 100, 1),
    "f0_rmse_cents": ("F0, cents", 1, 0),
    "contour_rmse_cents": ("contour, cents", 1, 0),
    "mcd_db": ("MCD, dB", 1, 3),
}


def modules_table(sources: Sources) -> str:
    """Arms and sizes of one seed: words, and what each has more than `mvc` with its interval, * where p after
    Holm over all of them is below 0.05; `mvc` first, then by words."""
    gaps = gaps_of(sources, MODULES)
    found = {}
    for row in sources.csv(f"{MODULES}/cells.csv"):
        if row["status"] == "done":
            more = _said(row["overrides"])
            found["-".join(filter(None, (str(row["conditioning"]), more)))] = row
    if OURS not in found:
        raise InputError(f"{MODULES}: no {OURS} to compare with")
    rows = []
    for name in sorted(found, key=lambda name: (name != OURS, found[name]["wer_guarded"])):
        words = [percent(float(found[name][key]), 1) for key in ("wer_corpus", "wer_guarded")]
        each = ["" if name == OURS else more_of(gaps, measure, name) for measure in MORE]
        rows.append([f"`{name.replace('-', ' ', 1)}`", *words, *each])
    return markdown(["arm", "WER %", "guarded", *(part[0] for part in MORE.values())], rows)


def more_of(gaps: Mapping[tuple[str, str], Row], measure: str, name: str) -> str:
    """What `name` has more than `mvc`."""
    row = gaps.get((measure, name))
    if row is None:
        raise InputError(f"{MODULES}: no difference of {measure} between {name} and {OURS}")
    _, factor, digits = MORE[measure]
    ends = [row[end] for end in ("difference", "difference_low", "difference_high")]
    return signed(ends, factor, digits) + (" *" if float(row["p_holm"]) < 0.05 else "")


def systems_table(sources: Sources) -> str:
    """Recordings, vocoder, codec, MamTra's teacher and students and MambaVoiceCloning on one list."""
    prosody = prosody_of(sources, f"{SYSTEMS}/prosody.csv", TRACKERS[0])
    rows = []
    for line in sources.csv(f"{SYSTEMS}/leaderboard.csv"):
        name = str(line["system"])
        own = prosody.get(name, {})
        ends = [percent(float(line[f"wer_corpus{end}"]), 1) for end in ("", "_low", "_high")]
        mos = "" if not _said(line.get("mos")) else f"{line['mos']:.2f}"
        similar = f"{line['sim_prompt'] - line['sim_other']:.3f}"
        means = [
            f"{own[measure]:.{digits}f}" if measure in own else ""
            for measure, (_, _, digits) in PROSODY.items()
        ]
        rows.append([f"`{name}`", f"{ends[0]} [{ends[1]}, {ends[2]}]", similar, mos, *means])
    headers = ["system", "WER %", "voice", "MOS", *(part[0] for part in PROSODY.values())]
    return markdown(headers, rows)


def arm_values(sources: Sources, name: str) -> str:
    """`<arm>.wer`, `<arm>.guarded`, `<arm>.seeds`; `<measure>.<arm>`: `mvc` less the arm; `utterances` of the
    grid; `system.<name>.wer` of the table of both systems. Raises InputError for another name."""
    part, _, what = name.rpartition(".")
    found = cells(sources)
    if name == "utterances":
        return str(int(next(iter(found[OURS].values()))["n_scored"]))
    if part in found and what == "wer":
        return percent(float(np.mean([row["wer_corpus"] for row in found[part].values()])), 1)
    if part in found and what == "guarded":
        return percent(float(np.mean([row["wer_guarded"] for row in found[part].values()])), 1)
    if part in found and what == "seeds":
        return str(len(found[part]))
    if part in PRIMARY and (row := gaps_of(sources).get((part, what))) is not None:
        _, factor, digits = PRIMARY[part]
        return _turned(row, factor, digits)
    if part.startswith("system.") and what == "wer":
        for line in sources.csv(f"{SYSTEMS}/leaderboard.csv"):
            if line["system"] == part.removeprefix("system."):
                return percent(float(line["wer_corpus"]), 1)
    raise InputError(
        f"no value mvc_arms.{name}: <arm>.wer, .guarded, .seeds, <measure>.<arm> ({', '.join(PRIMARY)}), "
        "system.<name>.wer, utterances"
    )
