"""What a MambaVoiceCloning model with a bounded look-ahead costs and says while text comes word by word.

python -m tools.bench_mvc_stream model=<folder> out=<folder> [assets=assets/open] [sentences=20] [minutes=5]
    [ahead=0,16,48]

`ahead`: frames of 20 ms that the decoder waits for; the last row waits for all that its steps see, and says
what the model says at once. Text is there as fast as it is read, so times are those of computing. Writes
<out>/stream.json and prints one row for each of `ahead`:

  first ms      computing until the first sound, and the text tokens that were read for it
  RTF           seconds of computing in a second of speech
  KB            carried over to the next word, at the most, and that after `minutes` in that after a fifth
  distance      of log-mel spectra to those of the whole, dB (root mean square)
  joint         steps of level between two sounds in those between neighbouring frames (1: none is heard)

Values are means over sentences, each in a voice of its own while there are more.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from data.arguments import clear_errors, parse_arguments
from eval.store.files import write_json
from eval.store.manifest import git_state, package_versions
from eval.testset import read_meta
from mamtra.mvc.decoder_stream import reach
from mamtra.mvc.voice import Voices
from mamtra.mvc_stream import SpeechStream
from mamtra.mvc_tts import N_STEPS, SILENCE, MVCSynthesizer
from mamtra.speech.features import log_mel

FRAME = 160  # samples of a step of level
REPEATS = 4  # of a text between two looks at the clock of what is spoken
DB = 20 / np.log(10)
Text = tuple[list[int], Voices]


@dataclass(frozen=True)
class Streamed:
    """One utterance: its sound, where its pieces meet (samples), and what it took."""

    wave: torch.Tensor
    joints: list[int]
    first_s: float
    first_tokens: int
    taken_s: float
    most_bytes: int


def words(ids: Sequence[int]) -> Iterator[list[int]]:
    """Text tokens word by word, each with the border behind it."""
    word: list[int] = []
    for one in ids:
        word.append(one)
        if one == SILENCE and len(word) > 1:
            yield word
            word = []
    if word:
        yield word


def streamed(stream: SpeechStream, ids: Sequence[int]) -> Streamed:
    """Says `ids` word by word."""
    start_s = time.perf_counter()
    parts, joints, n, read, most = [], [], 0, 0, 0
    first_s, first_tokens = 0.0, 0
    pieces = list(words(ids))
    for i, piece in enumerate(pieces):
        made = stream.push(piece, final=i == len(pieces) - 1)
        read, most = read + len(piece), max(most, stream.num_bytes())
        if not len(made):
            continue
        if not parts:
            first_s, first_tokens = time.perf_counter() - start_s, read
        else:
            joints.append(n)
        parts.append(made)
        n += len(made)
    taken_s = time.perf_counter() - start_s
    return Streamed(torch.cat(parts), joints, first_s, first_tokens, taken_s, most)


def level_steps(wave: np.ndarray, joints: Sequence[int]) -> tuple[list[float], list[float]]:
    """Steps of level in dB between the 10 ms before and behind each joint, and between neighbouring frames."""
    power = np.square(wave.astype(np.float64))

    def db(start: int) -> float:
        return 10 * np.log10(power[start : start + FRAME].mean() + 1e-6)

    at = [abs(db(j) - db(j - FRAME)) for j in joints if FRAME <= j <= len(wave) - FRAME]
    frames = [db(start) for start in range(0, len(wave) - FRAME + 1, FRAME)]
    return at, np.abs(np.diff(frames)).tolist()


def distance_db(found: torch.Tensor, whole: torch.Tensor) -> float:
    """Root mean square of log-mel spectra."""
    a, b = (log_mel(wave) for wave in (found, whole))
    return float(DB * (a - b).square().mean().sqrt())


def held_bytes(
    tts: MVCSynthesizer, ids: Sequence[int], voice: Voices, ahead: int, minutes: float
) -> tuple[int, int]:
    """Bytes that are carried over after a fifth of `minutes` of speech, and after all: `ids` again and again.

    Raises ValueError for a model that gives them no time."""
    stream, spoken_s, found = SpeechStream(tts, voice, seed=0, ahead=ahead), 0.0, []
    for goal in (12 * minutes, 60 * minutes):
        while spoken_s < goal:
            before_s = spoken_s
            for _ in range(REPEATS):
                spoken_s += len(stream.push(list(ids))) / tts.sample_rate_hz
            if spoken_s == before_s:
                raise ValueError(
                    f"the model says nothing to {REPEATS} times {len(ids)} text tokens"
                )
        found.append(stream.num_bytes())
    return found[0], found[1]


def said(tts: MVCSynthesizer, texts: Sequence[Text], ahead: int) -> list[Streamed]:
    """Every text word by word, each with its own noise."""
    return [
        streamed(SpeechStream(tts, voice, seed=i, ahead=ahead), ids)
        for i, (ids, voice) in enumerate(texts)
    ]


def measured(
    tts: MVCSynthesizer,
    texts: Sequence[Text],
    rows: Sequence[Streamed],
    wholes: Sequence[Streamed],
    ahead: int,
    minutes: float,
) -> dict[str, Any]:
    """A row of the table. `rows`: what a stream with `ahead` said of `texts`; `wholes`: its control, which
    waits for all."""
    at, between, gaps = [], [], []
    for found, whole in zip(rows, wholes, strict=True):
        gaps.append(distance_db(found.wave, whole.wave))
        joints, others = level_steps(found.wave.numpy(), found.joints)
        at, between = at + joints, between + others
    speech_s = sum(len(row.wave) for row in rows) / tts.sample_rate_hz
    ids, voice = texts[0]
    after = held_bytes(tts, ids, voice, ahead, minutes)
    return {
        "ahead": ahead,
        "first_ms": 1000 * float(np.mean([row.first_s for row in rows])),
        "first_tokens": float(np.mean([row.first_tokens for row in rows])),
        "rtf": sum(row.taken_s for row in rows) / speech_s,
        "kilobytes": max(row.most_bytes for row in rows) / 1000,
        "growth": after[1] / after[0],
        "distance_db": float(np.mean(gaps)),
        "joint": float(np.mean(at) / np.mean(between)) if at else None,
        "joints": len(at),
    }


def bench(
    model: Path, out: Path, assets: Path, sentences: int, minutes: float, ahead: Sequence[int]
) -> Path:
    """Returns the path of the file. Raises ValueError for a model that cannot stream and bad settings."""
    if sentences < 1 or minutes < 1 or not ahead:
        raise ValueError("sentences and minutes have to be at least 1, ahead one number or more")
    tts = MVCSynthesizer.load(model, assets)
    texts = []
    for item in read_meta(assets / "meta.lst", sentences):
        assert item.prompt_wav is not None, "read_meta asks for prompts"
        prompt, _ = sf.read(item.prompt_wav, dtype="float32")
        texts.append((tts.pieces(item.text, split=False)[0], tts.voice(torch.from_numpy(prompt))))
    every = N_STEPS * reach(tts.model.decoder)
    waits = sorted({min(one, every) for one in ahead} | {every})
    content = {
        "model": asdict(tts.model.sizes),
        "sentences": len(texts),
        "minutes": minutes,
        "threads": torch.get_num_threads(),
        "git": git_state(),
        "packages": package_versions(),
    }
    wholes = said(tts, texts, every)
    rows = []
    for one in track(waits, "look-ahead of the decoder"):
        found = wholes if one == every else said(tts, texts, one)
        rows.append(measured(tts, texts, found, wholes, one, minutes))
        # What an interrupted run has measured is kept.
        write_json(out / "stream.json", content | {"rows": rows})
    table = Table(
        title=f"{model}, {len(texts)} sentences, {tts.model.sizes.lookahead} text tokens ahead"
    )
    for header in ("ahead", "first ms", "tokens", "RTF", "KB", "growth", "distance dB", "joint"):
        table.add_column(header, justify="right")
    for row in rows:
        shown = ("first_ms", "first_tokens", "rtf", "kilobytes", "growth", "distance_db", "joint")
        table.add_row(
            str(row["ahead"]), *("–" if row[n] is None else f"{row[n]:.3g}" for n in shown)
        )
    Console().print(table)
    print(f"-> {out / 'stream.json'}")
    return out / "stream.json"


def main() -> None:
    options = ("assets", "sentences", "minutes", "ahead")
    given = parse_arguments(__doc__, ("model", "out"), options)
    try:
        numbers = {
            "sentences": int(given.get("sentences", "20")),
            "minutes": float(given.get("minutes", "5")),
            "ahead": [int(one) for one in given.get("ahead", "0,16,48").split(",")],
        }
    except ValueError as error:
        sys.exit(f"error: {error}")
    with clear_errors():
        folders = (Path(given["model"]), Path(given["out"]))
        bench(*folders, Path(given.get("assets", "assets/open")), **numbers)


if __name__ == "__main__":
    main()
