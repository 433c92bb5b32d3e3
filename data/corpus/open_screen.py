"""What the recogniser hears of the open corpus, decided on recordings before anything is trained.

Voices: each candidate voice reads sentences that the recogniser hears without an error in the unmodified
neural voice. Sentences: each candidate for a held-out split is read once in the unmodified voice, and stays
when the recogniser writes it down, spelling and word breaks aside. That reading is then thrown away: the
recording that later stands for the sentence is another one, so the floor is not biased to zero.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import jiwer
import soxr
from rich.progress import track

from data.corpus.open_split import Texts
from data.corpus.screen import Heard, Recogniser
from data.corpus.voices import SAMPLE_RATE_HZ, Renderer, Voice, read_voices
from data.whole_files import whole
from data.workers import worker_processes

RECOGNISER = "whisper tiny.en (faster-whisper, int8, greedy)"
UNMODIFIED = "unmodified"
PILOT_SENTENCES = 9
# Above the median voice, not above zero: which nine sentences the pilot has moves all voices alike (5.6 % for
# one draw of them, 11 % for another, which would have dropped 105 of 145 voices for two phrases).
MAX_ABOVE_MEDIAN = 0.05
_BATCH = 100

_renderer: Renderer
_recogniser: Recogniser


@cache
def _normalizer():
    from whisper.normalizers import EnglishTextNormalizer

    return EnglishTextNormalizer()


def spelled_alike(text: str) -> str:
    """Lower case, one spelling of British and American words, contractions written out."""
    return _normalizer()(text)


def is_heard(text: str, transcript: str) -> bool:
    """Whether the recogniser wrote the text down, spelling and word breaks aside."""
    return spelled_alike(text).replace(" ", "") == spelled_alike(transcript).replace(" ", "")


def _start() -> None:
    global _renderer, _recogniser
    _renderer, _recogniser = Renderer(threads=1), Recogniser(threads=1)


def _hear(job: tuple[str, str, Voice | None]) -> Heard:
    name, text, voice = job
    if voice is None:
        wave = soxr.resample(
            _renderer.read_aloud(text, 1.0), _renderer.reading_rate_hz, SAMPLE_RATE_HZ
        )
    else:
        reading = _renderer.read_aloud(text, voice.length_scale)
        wave = _renderer.change(reading, voice, 1.0)
    said = _recogniser.transcribe(wave.astype("float32"))
    return Heard(name, voice.name if voice else UNMODIFIED, text, said)


def read_log(path: Path) -> list[Heard]:
    """Lines of a log that a stopped process may have left with half a line at its end: that is cut off."""
    if not path.exists():
        return []
    whole = path.read_text().rpartition("\n")[0]
    if path.stat().st_size > len(whole.encode()) + 1:
        path.write_text(whole + "\n" if whole else "")
    return [Heard(**json.loads(line)) for line in whole.splitlines()]


class Listener:
    """Reads texts aloud, transcribes them in worker processes and keeps a log of it in `path`."""

    def __init__(self, path: Path, workers: int) -> None:
        self.path, self.workers = path, workers

    def __enter__(self) -> "Listener":
        self.done = {heard.utterance: heard for heard in read_log(self.path)}
        self._workers = worker_processes(self.workers, _start)
        self._pool = self._workers.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._workers.__exit__(*error)

    def hear(self, jobs: Sequence[tuple[str, str, Voice | None]], label: str) -> list[Heard]:
        """What was heard of each job (name, text, voice or None for the unmodified one), in order."""
        missing = [job for job in jobs if job[0] not in self.done]
        with self.path.open("a") as log:
            heard = self._pool.map(_hear, missing, chunksize=4)
            for row in track(heard, label, total=len(missing)) if missing else ():
                self.done[row.utterance] = row
                log.write(json.dumps(asdict(row)) + "\n")
                log.flush()
        return [self.done[job[0]] for job in jobs]


def voice_wer(rows: Sequence[Heard]) -> dict[str, float]:
    """Corpus word error rate of each voice, by name."""
    texts: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in rows:
        texts[row.voice].append((spelled_alike(row.text), spelled_alike(row.transcript)))
    return {
        voice: round(jiwer.wer([t for t, _ in pairs], [h for _, h in pairs]), 4)
        for voice, pairs in sorted(texts.items())
    }


def screen_voices(
    out: Path, texts: Texts, voices: Sequence[Voice], n_voices: int, workers: int
) -> list[Voice]:
    """The first `n_voices` voices that are heard; decided once, in `<out>/voices.json`.

    Each reads the same sentences in one breath, which the recogniser writes down without an error when the
    unmodified voice reads them one by one. A voice stays when it is at most MAX_ABOVE_MEDIAN above the median
    voice. Raises ValueError when too few voices stay.
    """
    path = out / "voices.json"
    if not path.exists():
        with Listener(out / "pool.jsonl", workers) as listener:
            heard = next(_heard_batches(listener, texts))
        pilot = [row.text for row in heard if is_heard(row.text, row.transcript)]
        # About 25 s: what the recogniser hears at once.
        text = " ".join(pilot[:PILOT_SENTENCES])
        with Listener(out / "pilot.jsonl", workers) as listener:
            jobs = [(voice.name, text, voice) for voice in voices]
            errors = voice_wer(listener.hear(jobs, f"{len(voices)} voices"))
        limit = median(errors.values()) + MAX_ABOVE_MEDIAN
        dropped = [name for name, wer in errors.items() if wer > limit]
        chosen = [voice for voice in voices if voice.name not in dropped][:n_voices]
        if len(chosen) < n_voices:
            raise ValueError(
                f"only {len(chosen)} of the {n_voices} voices needed are heard: {path}"
            )
        write_json(
            path,
            {
                "recogniser": RECOGNISER,
                "max_voice_wer": round(limit, 4),
                "text": text,
                "voice_wer": errors,
                "dropped_voices": dropped,
                "voices": [voice.as_dict() for voice in chosen],
            },
        )
    return read_voices(out)


def screen_pool(
    out: Path, texts: Texts, needed: dict[str, int], workers: int
) -> dict[str, list[str]]:
    """The candidates that are heard, as many as `needed`; decided once, in `<out>/screen.json`.

    "unseen" have a word that no training text has, "seen" have none. Raises ValueError when the pool
    does not suffice, and for a decision about another pool.
    """
    path = out / "screen.json"
    if path.exists():
        heard = json.loads(path.read_text())["heard"]
        if other := {text for found in heard.values() for text in found} - set(texts.pool):
            raise ValueError(
                f"{path} was decided for other texts ({sorted(other)[0]!r} is no candidate): "
                "is this another version of WordNet?"
            )
        return heard
    kept: dict[str, list[str]] = {"unseen": [], "seen": []}
    read: Counter[str] = Counter()
    with Listener(out / "pool.jsonl", workers) as listener:
        for batch in _heard_batches(listener, texts):
            for row in batch:
                kind = "unseen" if texts.unseen_words(row.text) else "seen"
                read[kind] += 1
                if is_heard(row.text, row.transcript):
                    kept[kind].append(row.text)
            if all(len(kept[kind]) >= count for kind, count in needed.items()):
                break
        else:
            counts = {kind: len(found) for kind, found in kept.items()}
            raise ValueError(
                f"of {len(texts.pool)} candidates {counts} were heard, {needed} are needed: "
                "set more aside"
            )
    decided = {
        "recogniser": RECOGNISER,
        "rule": "one reading in the unmodified voice, spelling and word breaks aside",
        "read": dict(read),
        "heard_of_read": {kind: len(found) for kind, found in kept.items()},
        "heard": {kind: kept[kind][:count] for kind, count in needed.items()},
    }
    write_json(path, decided)
    return decided["heard"]


def write_json(path: Path, content: dict) -> None:
    with whole(path) as partial:
        partial.write_text(json.dumps(content, indent=1))


def _heard_batches(listener: Listener, texts: Texts) -> Iterator[list[Heard]]:
    jobs = [(f"pool-{i:05d}", text, None) for i, text in enumerate(texts.pool)]
    for i in range(0, len(jobs), _BATCH):
        yield listener.hear(jobs[i : i + _BATCH], f"candidates from {i}")
