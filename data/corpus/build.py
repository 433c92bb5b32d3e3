"""Builds the mini corpus: pilot -> ASR screen -> recordings -> manifest. Resumable; prints where it went.

    python -m data.corpus.build out=<folder> [hours=10] [workers=2]

Every recording is written to a temporary name and renamed, so an interrupted run leaves only whole files
and the next run continues. The plan (which sentence in which voice) is a pure function of the seed and of
`screen.json`, so a rebuilt corpus has the same sentences, voices and splits.
"""

import itertools
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile as sf
from rich.progress import track

from data.arguments import clear_errors, parse_arguments
from data.corpus.lexicon import vocabulary
from data.corpus.screen import Heard, Recogniser, decide, load
from data.corpus.sentences import PILOT_TEMPLATES, SentenceGenerator
from data.corpus.test_list import test_items, write_meta
from data.corpus.voices import SAMPLE_RATE_HZ, Renderer, Voice, draw_voices
from data.whole_files import alone_in, whole
from data.workers import worker_processes

SEED = 20260
CANDIDATE_VOICES = 60
TEST_VOICES = 10
VALID_SENTENCES = 300
TEST_SENTENCES = 400
PROMPTS_PER_TEST_VOICE = 2
PILOT_COVER = 8
MEAN_UTTERANCE_S = 2.66
# Every training sentence is read once by the neural voice and spoken by two voices at their own rates:
# half the synthesis time, and two token sequences for one text.
VOICES_PER_READING = 2


@dataclass(frozen=True)
class Utterance:
    """One planned recording. `split` is train, valid (new text, known voice), test or prompt (new both)."""

    utterance: str
    split: str
    text: str
    voice: str


def plan_pilot(voices: list[Voice]) -> list[Utterance]:
    """Sentences that show every candidate word at least `PILOT_COVER` times, dealt to voices in turn."""
    generator = SentenceGenerator(SEED, templates=PILOT_TEMPLATES)
    need = dict.fromkeys(vocabulary(), PILOT_COVER)
    chosen: list[Utterance] = []
    for _ in range(40_000):
        words = set((text := generator.draw()).split())
        rare = [w for w in words if need.get(w, 0) > 0]
        if len(rare) >= (2 if len(chosen) < 700 else 1):
            for w in rare:
                need[w] -= 1
            i = len(chosen)
            chosen.append(Utterance(f"pilot-{i:05d}", "pilot", text, voices[i % len(voices)].name))
        if not any(n > 0 for n in need.values()):
            break
    return chosen


def plan_corpus(screen: dict, voices: list[Voice], hours: float) -> list[Utterance]:
    """Test sentences are drawn first, so no training sentence can equal one; voices are disjoint too."""
    kept = [v.name for v in voices if v.name not in screen["dropped_voices"]]
    test_voices = sorted(random.Random(SEED).sample(kept, TEST_VOICES))
    train_voices = [v for v in kept if v not in test_voices]
    generator = SentenceGenerator(SEED + 1, frozenset(screen["dropped_words"]))
    rows = [
        Utterance(f"test-{i:04d}", "test", generator.draw(), test_voices[i % len(test_voices)])
        for i in range(TEST_SENTENCES)
    ]
    rows += [
        Utterance(f"prompt-{v}-{k}", "prompt", generator.draw(), v)
        for v in test_voices
        for k in range(PROMPTS_PER_TEST_VOICE)
    ]
    rows += [
        Utterance(f"valid-{i:04d}", "valid", generator.draw(), train_voices[i % len(train_voices)])
        for i in range(VALID_SENTENCES)
    ]
    n_voices = len(train_voices)
    readings = int(hours * 3600 / MEAN_UTTERANCE_S / VOICES_PER_READING)
    for i in range(readings):
        text = generator.draw()
        for k in range(VOICES_PER_READING):
            # A growing stride pairs every voice with every other in turn.
            voice = train_voices[(i + k * (1 + i // n_voices % (n_voices - 1))) % n_voices]
            rows.append(Utterance(f"train-{i:05d}{'ab'[k]}", "train", text, voice))
    return rows


_renderer: Renderer
_recogniser: Recogniser
_voices: dict[str, Voice]


def _start_render(voices: list[Voice]) -> None:
    global _renderer, _voices
    _renderer = Renderer(threads=1)
    _voices = {v.name: v for v in voices}


def _render(job: list[tuple[Utterance, Path]]) -> list[float]:
    """Renders the utterances of one reading (same text) that are not there yet."""
    missing = [(row, path) for row, path in job if not path.exists()]
    if missing:
        scale = _voices[job[0][0].voice].length_scale
        reading = _renderer.read(job[0][0].text, scale)
        for row, path in missing:
            wave = _renderer.speak(reading, _voices[row.voice], scale).wave
            with whole(path) as partial:
                sf.write(partial, wave, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    return [sf.info(path).duration for _, path in job]


def render_all(
    rows: list[Utterance], voices: list[Voice], folder: Path, workers: int, label: str
) -> list[float]:
    """Writes `<folder>/<utterance>.wav` for every row; returns durations in seconds, in row order."""
    folder.mkdir(parents=True, exist_ok=True)
    paired = [(row, folder / f"{row.utterance}.wav") for row in rows]
    jobs = [list(group) for _, group in itertools.groupby(paired, key=lambda job: job[0].text)]
    with worker_processes(workers, _start_render, voices) as pool:
        results = pool.map(_render, jobs, chunksize=8)
        durations = track(results, description=label, total=len(jobs))
        return [duration for group in durations for duration in group]


def _start_recognise() -> None:
    global _recogniser
    _recogniser = Recogniser(threads=1)


def _recognise(job: tuple[Utterance, Path]) -> Heard:
    row, path = job
    wave, _ = sf.read(path, dtype="float32")
    return Heard(row.utterance, row.voice, row.text, _recogniser.transcribe(wave))


def screen_pilot(out: Path, voices: list[Voice], workers: int) -> dict:
    """Renders and transcribes the pilot once; later runs reuse transcripts and decision."""
    path, heard_path = out / "screen.json", out / "pilot.jsonl"
    if path.exists():
        return load(path)
    rows = plan_pilot(voices)
    render_all(rows, voices, out / "pilot", workers, f"pilot recordings ({len(rows)})")
    done = {}
    if heard_path.exists():
        done = {r["utterance"]: r for r in map(json.loads, heard_path.read_text().splitlines())}
    jobs = [(r, out / "pilot" / f"{r.utterance}.wav") for r in rows if r.utterance not in done]
    with (
        worker_processes(workers, _start_recognise) as pool,
        heard_path.open("a") as log,
    ):
        for heard in track(
            pool.map(_recognise, jobs, chunksize=8), description="pilot ASR", total=len(jobs)
        ):
            done[heard.utterance] = asdict(heard)
            log.write(json.dumps(asdict(heard)) + "\n")
            log.flush()
    screen = decide([Heard(**done[r.utterance]) for r in rows])
    screen["voices"] = [v.as_dict() for v in voices]
    with whole(path) as partial:
        partial.write_text(json.dumps(screen, indent=1))
    return screen


def build(out: Path, hours: float = 10.0, workers: int = 2) -> Path:
    """Returns the manifest: utterance, split, text, voice, wav (relative to `out`), duration_s."""
    out.mkdir(parents=True, exist_ok=True)
    voices = draw_voices(CANDIDATE_VOICES, seed=SEED)
    screen = screen_pilot(out, voices, workers)
    print(
        f"screen: {len(screen['dropped_words'])} words and {len(screen['dropped_voices'])} voices "
        f"dropped of {len(vocabulary())} and {len(voices)} ({out / 'screen.json'})"
    )
    rows = plan_corpus(screen, voices, hours)
    durations = render_all(rows, voices, out / "wavs", workers, f"recordings ({len(rows)})")
    table = pd.DataFrame([asdict(r) for r in rows])
    table["wav"] = "wavs/" + table["utterance"] + ".wav"
    table["duration_s"] = durations
    manifest = out / "manifest.csv"
    with whole(manifest) as partial:
        table.to_csv(partial, index=False)
    write_meta(out / "meta.lst", test_items(table), "wavs", "wavs", ".wav")
    total_s: Any = table.groupby("split")["duration_s"].sum()  # a series
    hours_by_split = (total_s / 3600).round(2).to_dict()
    print(f"corpus: {len(table)} recordings, hours {hours_by_split} -> {manifest}")
    return manifest


if __name__ == "__main__":
    options = parse_arguments(__doc__, required=("out",), optional=("hours", "workers"))
    place = Path(options["out"])
    with clear_errors(), alone_in(place):
        build(place, float(options.get("hours", 10)), int(options.get("workers", 2)))
