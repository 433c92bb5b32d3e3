"""Test sentences read once more in the same voice: how far two readings of one text are apart.

    python -m data.corpus.takes corpus=<folder> out=<folder> [limit=300] [workers=2]

<out>/<utterance>.wav for the first `limit` sentences of <corpus>/meta.lst. Piper draws its noise, so every
reading is another: `evaluate.py wavs={takes: <out>}` and `stage=prosody floor=takes` score them as a system, as
the floor of every distance to a recording. Goes on where it was stopped. Needs `pip install -e ".[corpus]"`.
"""

from concurrent.futures import as_completed
from pathlib import Path

import soundfile as sf
from rich.progress import track

from data.arguments import clear_errors, parse_arguments
from data.corpus.voices import (
    SAMPLE_RATE_HZ,
    Renderer,
    UnreadableTextError,
    Voice,
    read_voices,
)
from data.whole_files import alone_in, whole
from data.workers import worker_processes

CHUNK = 20
Row = tuple[str, str, str]  # utterance, text, voice

_renderer: Renderer
_voices: dict[str, Voice]


def first_rows(meta: Path, limit: int) -> list[Row]:
    """Of a list with voices. Raises FileNotFoundError without it, ValueError for a line without a voice."""
    if not meta.is_file():
        raise FileNotFoundError(f"{meta} is missing: `python -m data.corpus.open_build` writes it")
    rows = []
    for number, line in enumerate(meta.read_text(encoding="utf-8").splitlines()[:limit], 1):
        fields = line.split("|")
        if len(fields) != 6:
            raise ValueError(f"{meta}:{number}: {len(fields)} fields; six, the last the voice")
        rows.append((fields[0], fields[3], fields[5]))
    return rows


def _start(voices: list[Voice]) -> None:
    global _renderer, _voices
    _renderer = Renderer(threads=1)
    _voices = {voice.name: voice for voice in voices}


def _read(rows: list[Row], out: Path) -> list[str]:
    """Names of those that Piper did not read as one sentence."""
    left = []
    for utterance, text, name in rows:
        voice = _voices[name]
        try:
            reading = _renderer.read(text, voice.length_scale)
        except UnreadableTextError:
            left.append(utterance)
            continue
        spoken = _renderer.speak(reading, voice, voice.length_scale)
        with whole(out / f"{utterance}.wav") as partial:
            sf.write(partial, spoken.wave, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    return left


def takes(corpus: Path, out: Path, limit: int = 300, workers: int = 2) -> int:
    """How many sentences have a reading. Errors as `first_rows`, and ValueError for an unknown voice."""
    rows, voices = first_rows(corpus / "meta.lst", limit), read_voices(corpus)
    if unknown := {name for _, _, name in rows} - {voice.name for voice in voices}:
        raise ValueError(f"{corpus / 'voices.json'} has no voice {sorted(unknown)[0]}")
    missing = [row for row in rows if not (out / f"{row[0]}.wav").is_file()]
    chunks = [missing[i : i + CHUNK] for i in range(0, len(missing), CHUNK)]
    if chunks:
        with worker_processes(workers, _start, voices) as pool:
            jobs = [pool.submit(_read, chunk, out) for chunk in chunks]
            for job in track(as_completed(jobs), f"readings, {CHUNK} each", len(jobs)):
                for utterance in job.result():
                    print(f"{utterance} was not read as one sentence and is left out")
    made = sum((out / f"{row[0]}.wav").is_file() for row in rows)
    print(f"{made} of {len(rows)} readings -> {out}")
    return made


if __name__ == "__main__":
    given = parse_arguments(__doc__, ("corpus", "out"), ("limit", "workers"))
    folder = Path(given["out"])
    with clear_errors(), alone_in(folder):
        numbers = {name: int(given[name]) for name in ("limit", "workers") if name in given}
        takes(Path(given["corpus"]), folder, **numbers)
