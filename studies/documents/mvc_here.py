"""MambaVoiceCloning beside MamTra's teacher on the whole list, and beside what is published, table by table."""

from __future__ import annotations

from statistics import median

from eval.store.files import InputError
from studies.documents.mvc_arms import (
    MODULES,
    OURS,
    SYSTEMS,
    TRACKERS,
    gaps_of,
    more_of,
    prosody_of,
)
from studies.documents.mvc_cost import cost_values
from studies.documents.mvc_targets import RTF, WHOLE_LIST, list_values
from studies.documents.sources import Row, Sources, markdown, percent, rate, signed, stored_interval

TIMED = {"teacher": "first", OURS: "second"}  # systems of the list -> of the bench


def whole_list_table(sources: Sources) -> str:
    """Words, voice, predicted naturalness and real-time factor of both systems on all sentences of the list."""
    rows = []
    for line in sources.csv(WHOLE_LIST):
        name = str(line["system"])
        less = ""
        if name in TIMED and line["wer_difference"] == line["wer_difference"]:
            less = signed([line[f"wer_difference{end}"] for end in ("", "_low", "_high")], 100, 1)
        rows.append(
            [
                f"`{name}`",
                str(int(line["n_scored"])),
                _wer(line),
                less,
                f"{line['sim_prompt'] - line['sim_other']:.3f}",
                f"{line['mos']:.2f}",
                *(_rtf(sources, name, whole) for whole in (False, True)),
            ]
        )
    headers = ["system", "sentences", "WER %", "less the teacher", "voice", "MOS"]
    return markdown([*headers, "RTF without vocoder", "RTF with it"], rows)


def whole_values(sources: Sources, name: str) -> str:
    """`<system>`: WER % with its interval; `<system>.gap`: points less the teacher's; `<system>.n`: sentences.
    Raises InputError for another name."""
    system, _, part = name.partition(".")
    row = next((r for r in sources.csv(WHOLE_LIST) if r["system"] == system), None)
    if row is None or part not in ("", "gap", "n"):
        raise InputError(f"no value whole_list.{name}: <system>, <system>.gap or <system>.n")
    if part == "n":
        return str(int(row["n_scored"]))
    if part:
        return signed([row[f"wer_difference{end}"] for end in ("", "_low", "_high")], 100, 1)
    return _wer(row)


def _wer(row: Row) -> str:
    return rate(stored_interval(row, "wer_corpus", int(row["n_voices"])), 1)


def _rtf(sources: Sources, name: str, with_vocoder: bool) -> str:
    if name not in TIMED:
        return ""
    rounds = [r for r in sources.json(RTF)["rounds"] if r["system"] == TIMED[name]]
    parts = ("text_to_frames_s", "vocoder_s") if with_vocoder else ("text_to_frames_s",)
    return f"{median(sum(r[part] for part in parts) / r['speech_s'] for r in rounds):.3f}"


def published_here_table(sources: Sources) -> str:
    """One row a published table: what was measured here in its place, or that nothing was."""
    words = {str(row["system"]): row for row in sources.csv(f"{SYSTEMS}/leaderboard.csv")}
    own = words[OURS]
    pitch, other = (prosody_of(sources, f"{SYSTEMS}/prosody.csv", t)[OURS] for t in TRACKERS)
    voice = float(own["sim_prompt"]) - float(own["sim_other"])
    wer, typed = percent(float(own["wer_corpus"]), 1), list_values(sources, "typed.mvc")
    rtf = cost_values(sources, "rtf")
    shares = ", ".join(f"{cost_values(sources, p)} %" for p in ("share", "decoder", "vocoder"))
    cents = f"{pitch['f0_rmse_cents']:.0f} and {other['f0_rmse_cents']:.0f} cents"
    spectra, mos = f"{pitch['mcd_db']:.2f} dB", f"{own['mos']:.2f}"
    faster, lighter = (cost_values(sources, f"{what}.bilstm") for what in ("faster", "lighter"))
    ahead = _more(sources, "mvc-sizes.lookahead=19", "wer_guarded")
    concat = _more(sources, "concat", "mcd_db")
    rows = [
        ("1", f"no listeners; unseen voices, GE2E own less other prompts {voice:.3f}"),
        ("2", f"no listeners; DistillMOS {mos}; typed sentences {typed} % WER"),
        ("3", f"no listeners; RTF {rtf} without vocoder; drift above"),
        ("4", f"F0 {cents} (two trackers), MCD {spectra}, WER {wer} %, RTF {rtf} without vocoder"),
        (
            "5",
            f"look-ahead of 19 phonemes, a little more than 1 s: guarded WER {ahead} points, one seed",
        ),
        *(("6", _without(sources, part)) for part in ("text", "expressive", "temporal")),
        ("7", "no sweep of depths was run"),
        ("8", f"`concat`: MCD {concat} dB, one seed; `gated`, `adaln` not run"),
        ("9", f"`bilstm` takes {faster} times the time and {lighter} times the memory of `mvc`"),
        ("12", "`hybrid` not run; `concat` as in 8"),
        ("15", f"conditioning, decoder, vocoder: {shares}"),
        ("16", "no such corpus offline"),
    ]
    return markdown(["table", "measured here"], [list(row) for row in rows])


def _without(sources: Sources, part: str) -> str:
    name = f"no_{part}"
    points, spectra = (_more(sources, name, measure) for measure in ("wer_guarded", "mcd_db"))
    return f"`{name}` guarded WER {points} points, MCD {spectra} dB"


def _more(sources: Sources, name: str, measure: str) -> str:
    """What an arm of one seed has more than `mvc`; * where it is settled."""
    return more_of(gaps_of(sources, MODULES), measure, name)
