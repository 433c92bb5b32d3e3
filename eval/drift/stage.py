"""stage=drift: every system below `results` on its long texts, fifth by fifth; writes drift.csv."""

from __future__ import annotations

import io
from collections.abc import Sequence
from csv import DictWriter
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from eval.analysis.lengths import BINS
from eval.analysis.statistics import Interval, mean_interval, rate_interval
from eval.drift.measure import FEWEST_WORDS, PARTS, Reading, measure
from eval.metrics.audio import read_audio
from eval.metrics.prosody.pitch import TRACKERS
from eval.metrics.speaker.encoder import SpeakerEncoder
from eval.metrics.speaker.load import load_speaker
from eval.metrics.weights import Unavailable
from eval.report.recipes import profile_of
from eval.settings import Drift
from eval.store.evaluations import Evaluated, find_evaluations
from eval.store.files import InputError, sha256_file, write_text

CSV = "drift.csv"
Values = dict[str, Interval]


def drift_stage(s: Drift, console: Console) -> int:
    """Exit code 0. Raises InputError for an unknown tracker or encoder and where no text is long."""
    if s.tracker not in TRACKERS:
        raise InputError(f"tracker={s.tracker}: valid are {', '.join(TRACKERS)}")
    encoder = _encoder(s.speaker)
    lines: list[tuple[str, tuple[int, int], int, Values]] = []
    for one in find_evaluations(s.results):
        readings, without = _readings(one, encoder, s.tracker, console)
        for utterance, reason in without:
            console.print(f"{one.label}: {utterance} is left out: {reason}", markup=False)
        for low, high in BINS:
            these = [r for r in readings if low <= r.reference_words <= high]
            if these:
                lines.append((one.label, (low, high), len(these), values_of(these)))
    if not lines:
        raise InputError(
            f"{s.results} has no text of {FEWEST_WORDS} words and more that was spoken and heard: "
            "python -m tools.long_form makes a list of such texts"
        )
    console.print(_table(lines))
    write_text(s.results / CSV, _csv(lines))
    console.print(f"{s.results / CSV}", markup=False, soft_wrap=True)
    return 0


def _encoder(name: str | None) -> SpeakerEncoder | None:
    if name is None:
        return None
    try:
        encoder = load_speaker(name, "cpu")
        encoder.check()
    except Unavailable as error:
        raise InputError(str(error)) from error
    return encoder


def _readings(
    one: Evaluated, encoder: SpeakerEncoder | None, tracker: str, console: Console
) -> tuple[list[Reading], list[tuple[str, str]]]:
    """Those of its long texts, and which have none with the reason."""
    profile, language = profile_of(one), one.recipes["wer"]["language"]
    found: list[Reading] = []
    without: list[tuple[str, str]] = []
    prompts: dict[str, np.ndarray] = {}
    for row in track(one.rows, one.name, console=console, transient=True):
        reference = profile.normalise(row["text"], language)
        if len(reference.split()) < FEWEST_WORDS:
            continue
        path = one.wavs / f"{row['utterance']}.wav"
        audio = read_audio(path)
        if row["status"] != "ok" or audio.wave is None:
            without.append((row["utterance"], f"{row['status']}, its sound is {audio.status}"))
            continue
        if row["wav_sha256"] is not None and sha256_file(path) != row["wav_sha256"]:
            without.append((row["utterance"], "its sound is not the one that was scored"))
            continue
        prompt = None
        if encoder is not None and row.get("prompt"):
            prompt = prompts.get(row["prompt"])
            if prompt is None:
                voice = read_audio(Path(row["prompt"]))
                if voice.wave is None:
                    without.append((row["utterance"], f"its prompt is {voice.status}"))
                    continue
                prompt = prompts[row["prompt"]] = encoder.embed(voice.wave)
        texts = reference, profile.hypothesis(row["transcript"] or "", language)
        found.append(measure(row, texts, audio.wave, prompt, encoder, tracker))
    return found, without


def values_of(readings: Sequence[Reading]) -> Values:
    """Measure -> its interval over voices: rates and similarities by part (1 to PARTS), what the last part has
    more than the first of the same reading, slopes, speed."""
    voices = [r.voice for r in readings]
    values: Values = {}
    for i in range(PARTS):
        errors, words = [r.errors[i] for r in readings], [r.words[i] for r in readings]
        values[f"wer_{i + 1}"] = rate_interval(errors, words, voices)
    rates = np.array([[e / w for e, w in zip(r.errors, r.words, strict=True)] for r in readings])
    values["wer_change"] = mean_interval(rates[:, -1] - rates[:, 0], voices)
    heard = [r for r in readings if r.similarities is not None]
    if heard:
        own = [r.voice for r in heard]
        similar = np.array([r.similarities for r in heard])
        for i in range(PARTS):
            values[f"sim_{i + 1}"] = mean_interval(similar[:, i], own)
        values["sim_change"] = mean_interval(similar[:, -1] - similar[:, 0], own)
    sloped = [(r, r.slopes) for r in readings if r.slopes is not None]
    if sloped:
        own = [r.voice for r, _ in sloped]
        for name in ("pitch_cents_per_min", "level_db_per_min"):
            values[name] = mean_interval([getattr(d, name) for _, d in sloped], own)
    timed = [(r.speed, r.voice) for r in readings if r.speed is not None]
    if timed:
        values["speed"] = mean_interval([speed for speed, _ in timed], [v for _, v in timed])
    values["duration_s"] = mean_interval([r.duration_s for r in readings], voices)
    return values


_SHOWN = (
    *((f"wer_{i + 1}", f"WER % {i + 1}", 100.0) for i in range(PARTS)),
    ("wer_change", "last - first", 100.0),
    *(("sim_1", "SIM 1", 1.0), (f"sim_{PARTS}", f"SIM {PARTS}", 1.0)),
    ("sim_change", "last - first", 1.0),
    *(("pitch_cents_per_min", "cents/min", 1.0), ("level_db_per_min", "dB/min", 1.0)),
    *(("speed", "times real time", 1.0), ("duration_s", "s", 1.0)),
)


def _table(lines: Sequence[tuple[str, tuple[int, int], int, Values]]) -> Table:
    table = Table(title=f"long readings, part 1 to {PARTS}")
    for header in ("system", "words", "n", *(shown for _, shown, _ in _SHOWN)):
        table.add_column(header, overflow="fold")
    for name, (low, high), n, values in lines:
        cells = [_cell(values.get(key), unit) for key, _, unit in _SHOWN]
        table.add_row(name, f"{low}-{high}", str(n), *cells)
    return table


def _cell(value: Interval | None, unit: float) -> str:
    if value is None:
        return "–"
    return f"{unit * value.point:.3g} ({unit * value.low:.3g} to {unit * value.high:.3g})"


def _csv(lines: Sequence[tuple[str, tuple[int, int], int, Values]]) -> str:
    """One row per system, length and measure."""
    out = io.StringIO()
    names = ("system", "low", "high", "measure", "mean", "lower", "upper", "n", "voices")
    writer = DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for name, words, _, values in lines:
        for measure_name, v in values.items():
            numbers = [f"{x:.6g}" for x in (v.point, v.low, v.high)]
            cells = (name, *words, measure_name, *numbers, v.n, v.clusters)
            writer.writerow(dict(zip(names, cells, strict=True)))
    return out.getvalue()
