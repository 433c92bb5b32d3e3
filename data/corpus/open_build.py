"""Builds the open-vocabulary corpus: screen -> plan -> recordings with phoneme times -> manifest. Resumable.

    python -m data.corpus.open_build out=<folder> [hours=30] [workers=2] [wordnet=/usr/share/wordnet]
        [screened=<folder>]

Recordings are made in shards of 100. A shard's table is written when all its recordings are, under a
temporary name first, so a run that is stopped at any moment loses at most the shards it was at. The plan is
a pure function of the WordNet files, the seed, `voices.json` and `screen.json`; more hours extend it and
change nothing before. `screened` holds the last two of another build (the shipped ones are in
assets/open): nothing is screened again. Results: `manifest.csv`, `phonemes.parquet` (Piper's phonemes and
the sample each ends at), `meta.lst` (test list), `wavs/`.
"""

import random
from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf
from rich.progress import track

from data.arguments import clear_errors, parse_arguments
from data.corpus.build import Utterance
from data.corpus.open_screen import screen_pool, screen_voices
from data.corpus.open_split import Texts, divide
from data.corpus.test_list import deal, test_items, write_meta
from data.corpus.voices import SAMPLE_RATE_HZ, Renderer, UnreadableTextError, Voice, draw_voices
from data.corpus.wordnet import FOLDER, WordNet
from data.whole_files import alone_in, read_table, whole, write_table
from data.workers import worker_processes

SEED = 20261
POOL = 3200
CANDIDATE_VOICES, VOICES, TEST_VOICES = 145, 130, 30
# Slower than the neural voice's own rate: at 25 tokens a second it speaks 16 phonemes a second otherwise.
LENGTH_SCALE = (1.0, 1.15)
SENTENCES_PER_TEST_VOICE, PROMPTS_PER_TEST_VOICE = 22, 2
VALID_SENTENCES = 350
UNSEEN_SHARE = 0.4
MEAN_UTTERANCE_S = 2.26  # of the first 5,900 recordings; later ones have phrases too
SHARD = 100
SCREENED = ("voices.json", "screen.json")

_renderer: Renderer
_voices: dict[str, Voice]


def needed_candidates() -> dict[str, int]:
    """How many heard sentences with ("unseen") and without a word of their own the held-out splits take."""
    prompts = TEST_VOICES * PROMPTS_PER_TEST_VOICE
    mixed = TEST_VOICES * SENTENCES_PER_TEST_VOICE + VALID_SENTENCES
    unseen = int(UNSEEN_SHARE * mixed)
    return {"unseen": unseen, "seen": mixed - unseen + prompts}


def split_voices(voices: list[Voice]) -> tuple[list[str], list[str]]:
    """Names of the held-out and of the training voices."""
    names = [voice.name for voice in voices]
    held_out = sorted(random.Random(SEED).sample(names, TEST_VOICES))
    return held_out, [name for name in names if name not in held_out]


def plan_held_out(heard: dict[str, list[str]], voices: list[Voice]) -> list[Utterance]:
    """Prompts, test sentences and validation sentences; the share of unseen words is alike in the last two.

    heard: as `screen_pool` returns it for `needed_candidates`.
    """
    held_out, train = split_voices(voices)
    unseen, seen = list(heard["unseen"]), list(heard["seen"])
    rows = [
        Utterance(f"prompt-{voice}-{k}", "prompt", seen.pop(), voice)
        for voice in held_out
        for k in range(PROMPTS_PER_TEST_VOICE)
    ]
    texts = unseen + seen
    random.Random(SEED).shuffle(texts)
    n_test = TEST_VOICES * SENTENCES_PER_TEST_VOICE
    # Each voice is dealt its share of the unseen words too.
    test = sorted(texts[:n_test], key=set(seen).__contains__)
    for i, text in enumerate(test):
        rows.append(Utterance(f"test-{i:04d}", "test", text, held_out[i % TEST_VOICES]))
    for i, text in enumerate(texts[n_test:]):
        rows.append(Utterance(f"valid-{i:04d}", "valid", text, train[i % len(train)]))
    return rows


def plan_training(texts: Texts, voices: list[str], hours: float) -> Iterator[Utterance]:
    """Whole shards, about `hours` of them: every text once, then again, each time in another voice."""
    shards = -(-int(hours * 3600 / MEAN_UTTERANCE_S) // SHARD)
    for i in range(shards * SHARD):
        reading, number = divmod(i, len(texts.training))
        cycle, place = divmod(number, len(voices))
        order = random.Random(SEED + cycle).sample(voices, len(voices))
        # A reading shifts the dealing, so no text meets a voice again before it has met them all.
        voice = order[(place + 37 * reading) % len(voices)]
        yield Utterance(f"train-{i:06d}", "train", texts.training[number], voice)


def _start(voices: list[Voice]) -> None:
    global _renderer, _voices
    _renderer = Renderer(threads=1)
    _voices = {voice.name: voice for voice in voices}


def _render_shard(rows: list[Utterance], out: Path, shard: Path) -> None:
    made = []
    for row in rows:
        voice = _voices[row.voice]
        try:
            reading = _renderer.read(row.text, voice.length_scale)
        except UnreadableTextError as error:
            made.append({**asdict(row), "wav": "", "status": str(error)})
            continue
        spoken = _renderer.speak(reading, voice, voice.length_scale)
        wav = f"wavs/{row.utterance}.wav"
        with whole(out / wav) as partial:
            sf.write(partial, spoken.wave, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
        made.append(
            {
                **asdict(row),
                "wav": wav,
                "duration_s": len(spoken.wave) / SAMPLE_RATE_HZ,
                "phonemes": list(spoken.phonemes),
                "ends": spoken.ends.astype("int32"),
                "status": "ok",
            }
        )
    write_table(shard, pd.DataFrame(made))


def render(
    rows: list[Utterance], voices: list[Voice], out: Path, name: str, workers: int
) -> pd.DataFrame:
    """Makes the shards `<name>-*` that are missing; returns the table of all, in the order of `rows`.

    Raises ValueError when a shard in the folder was made by another plan.
    """
    (out / "wavs").mkdir(parents=True, exist_ok=True)
    (out / "shards").mkdir(exist_ok=True)
    groups = [rows[i : i + SHARD] for i in range(0, len(rows), SHARD)]
    shards = [out / "shards" / f"{name}-{i:05d}.parquet" for i in range(len(groups))]
    missing = [(g, s) for g, s in zip(groups, shards, strict=True) if not s.exists()]
    if missing:
        with worker_processes(workers, _start, voices) as pool:
            jobs = [pool.submit(_render_shard, group, out, shard) for group, shard in missing]
            for job in track(as_completed(jobs), f"{name} shards of {SHARD}", len(jobs)):
                job.result()
    tables = [read_table(shard) for shard in shards]
    for group, table, shard in zip(groups, tables, shards, strict=True):
        planned = [(row.utterance, row.text, row.voice) for row in group]
        if planned != list(
            table[["utterance", "text", "voice"]].itertuples(index=False, name=None)
        ):
            raise ValueError(f"{shard} was made by another plan: build in an empty folder")
    return pd.concat(tables, ignore_index=True)


def _write(path: Path, save) -> None:
    with whole(path) as partial:
        save(partial)


def take_screened(source: Path, out: Path) -> None:
    """Puts what another build decided into `out`: which voices stay, and which sentences if it came so far.

    Raises FileNotFoundError when nothing is there, and ValueError when `out` has decided otherwise.
    """
    found = [name for name in SCREENED if (source / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{source} holds neither {' nor '.join(SCREENED)}")
    for name in found:
        decided = (source / name).read_bytes()
        if (out / name).exists() and (out / name).read_bytes() != decided:
            raise ValueError(f"{out / name} differs from {source / name}: build in an empty folder")
        _write(out / name, lambda path, content=decided: path.write_bytes(content))


def build(
    out: Path,
    hours: float = 30.0,
    workers: int = 2,
    wordnet: Path = FOLDER,
    screened: Path | None = None,
) -> Path:
    """Returns the manifest: utterance, split, text, voice, wav (relative to `out`), duration_s."""
    out.mkdir(parents=True, exist_ok=True)
    if screened is not None:
        take_screened(screened, out)
    texts = divide(WordNet(wordnet), POOL, SEED)
    candidates = draw_voices(CANDIDATE_VOICES, SEED, LENGTH_SCALE)
    voices = screen_voices(out, texts, candidates, VOICES, workers)
    train = list(plan_training(texts, split_voices(voices)[1], hours))
    # The held-out splits have shards of their own, so that those of training never move.
    trained = render(train, voices, out, "train", workers)
    heard = screen_pool(out, texts, needed_candidates(), workers)
    held_out = render(plan_held_out(heard, voices), voices, out, "held-out", workers)
    return write_corpus(pd.concat([held_out, trained], ignore_index=True), out)


def write_corpus(table: pd.DataFrame, out: Path) -> Path:
    """Manifest, phoneme times and test list of rendered rows, as `render` returns them; the manifest's path.

    Rows that could not be read are named and left out. The test list is dealt, whatever the order of the rows.
    """
    # Held-out sentences are planned with the unseen words first.
    table = deal(table, SEED)
    failed = pd.DataFrame(table[table["status"] != "ok"])
    for utterance, status in zip(failed["utterance"], failed["status"], strict=True):
        print(f"left out: {utterance}: {status}")
    table = pd.DataFrame(table[table["status"] == "ok"]).reset_index(drop=True)
    manifest = out / "manifest.csv"
    phonemes = pd.DataFrame(table[["utterance", "phonemes", "ends"]])
    _write(out / "phonemes.parquet", lambda path: phonemes.to_parquet(path, index=False))
    write_meta(out / "meta.lst", test_items(table), "wavs", "wavs", ".wav")
    columns = ["utterance", "split", "text", "voice", "wav", "duration_s"]
    listed = pd.DataFrame(table[columns])
    _write(manifest, lambda path: listed.to_csv(path, index=False))
    hours_by_split = {
        str(split): round(float(np.sum(rows["duration_s"])) / 3600, 2)
        for split, rows in table.groupby("split")
    }
    print(
        f"corpus: {len(table)} recordings ({len(failed)} left out), "
        f"hours {hours_by_split} -> {manifest}"
    )
    return manifest


if __name__ == "__main__":
    options = parse_arguments(__doc__, ("out",), ("hours", "workers", "wordnet", "screened"))
    place = Path(options["out"])
    with clear_errors(), alone_in(place):
        build(
            place,
            float(options.get("hours", 30)),
            int(options.get("workers", 2)),
            Path(options.get("wordnet", FOLDER)),
            Path(options["screened"]) if "screened" in options else None,
        )
