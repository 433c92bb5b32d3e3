"""Public corpora -> the folder that features, aligner and training read: 16 kHz wavs and manifest.csv.

    python -m data.public_corpora kind=ljspeech|libritts|vctk root=<folder> out=<folder>
        [subsets=train-clean-100,train-clean-360,dev-clean] [limit=<recordings>]

ljspeech  LJSpeech-1.1 as published: metadata.csv (id|text|normalised text), wavs/
libritts  <root>/<subset>/<speaker>/<chapter>/*.wav with *.normalized.txt beside them
vctk      VCTK-Corpus-0.92: wav48_silence_trimmed/<speaker>/*_mic1.flac, txt/<speaker>/*.txt: all of it is test

Besides manifest.csv a test list is written where there are test recordings, meta.lst: each with another
recording of its voice as the prompt (`prompted`). Texts are written out as they are spoken. Recordings without
a text that can be read are counted and left out.
What is converted is kept when it is stopped, while its hash in wavs.sha256 is right; manifest.csv is written
last. A second command on the folder waits for the first.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf
import soxr
from rich.progress import track

from data.arguments import clear_errors, parse_arguments
from data.libritts import scan
from data.whole_files import alone_in, whole
from mamtra.speech.features import SAMPLE_RATE_HZ
from mamtra.text.phonemes import PhonemeTokenizer

LIBRITTS_CLEAN = ("train-clean-100", "train-clean-360", "dev-clean", "test-clean")
VALID_IN, TEST_IN = 50, 25  # LJSpeech has no splits: one of so many recordings
LJ_VOICE = "lj"
PROMPT_S = (2.0, 10.0)  # lengths of a prompt


@dataclass(frozen=True)
class Source:
    """One recording as it was published; text None where it has none."""

    utterance: str
    split: str
    text: str | None
    voice: str
    path: Path


def ljspeech(root: Path, subsets: Sequence[str] = ()) -> Iterator[Source]:
    """Raises FileNotFoundError without metadata.csv, ValueError naming a line without three fields."""
    listed = root / "metadata.csv"
    if not listed.is_file():
        raise FileNotFoundError(
            f"{listed} is missing: unpack LJSpeech-1.1 from https://keithito.com/LJ-Speech-Dataset"
        )
    for number, line in enumerate(listed.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split("|")
        if len(fields) != 3:
            raise ValueError(f"{listed}:{number}: {len(fields)} fields, not id|text|normalised")
        # By the name, not the place: the same split whatever else is listed.
        drawn = zlib.crc32(fields[0].encode())
        split = "valid" if drawn % VALID_IN == 0 else "test" if drawn % TEST_IN == 1 else "train"
        wav = root / "wavs" / f"{fields[0]}.wav"
        yield Source(fields[0], split, fields[2] or None, LJ_VOICE, wav)


def libritts(root: Path, subsets: Sequence[str] = LIBRITTS_CLEAN) -> Iterator[Source]:
    """Errors as `data.libritts.scan`."""
    for one in scan(root, subsets or LIBRITTS_CLEAN):
        yield Source(one.name, one.split, one.text, one.voice, one.wav)


def vctk(root: Path, subsets: Sequence[str] = ()) -> Iterator[Source]:
    """Raises FileNotFoundError without its recordings."""
    files = sorted((root / "wav48_silence_trimmed").glob("*/*_mic1.flac"))
    if not files:
        raise FileNotFoundError(
            f"no wav48_silence_trimmed/<speaker>/*_mic1.flac in {root}: unpack VCTK-Corpus-0.92 from "
            "https://datashare.ed.ac.uk/handle/10283/3443"
        )
    for path in files:
        name, voice = path.stem.removesuffix("_mic1"), path.parent.name
        text = root / "txt" / voice / f"{name}.txt"
        found = text.read_text(encoding="utf-8").strip() if text.is_file() else ""
        yield Source(name, "test", found or None, voice, path)


KINDS: Mapping[str, Callable[[Path, Sequence[str]], Iterator[Source]]] = {
    "ljspeech": ljspeech,
    "libritts": libritts,
    "vctk": vctk,
}


def readable(text: str | None) -> str | None:
    """The text as it is spoken; None where it cannot be."""
    try:
        return PhonemeTokenizer().normalize(text) if text else None
    except ValueError:
        return None


def convert(source: Path, out: Path, known: Mapping[str, str]) -> tuple[float, str]:
    """A mono 16 kHz PCM16 wav, whole or not at all; its (seconds, hash). One that is there stays if its hash
    is that in `known`. Raises ValueError naming a recording that cannot be read."""
    if not out.is_file() or known.get(out.name) != sha256(out):
        try:
            wave, rate_hz = sf.read(source, dtype="float32", always_2d=True)
        except sf.LibsndfileError as error:
            raise ValueError(f"{source} cannot be read: {error.error_string}") from error
        mono = wave.mean(axis=1)
        if rate_hz != SAMPLE_RATE_HZ:
            mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ)
        with whole(out) as partial:
            sf.write(partial, np.clip(mono, -1, 1), SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    return sf.info(out).duration, sha256(out)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def converted(journal: Path) -> dict[str, str]:
    """The hash of every wav converted before, by its name; a line that a kill cut counts for nothing."""
    if not journal.is_file():
        return {}
    lines = [line.split() for line in journal.read_text(errors="replace").splitlines()]
    return {words[1]: words[0] for words in lines if len(words) == 2}


def prompted(table: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """Lines of a test list: utterance, prompt text, prompt wav, text, wav, voice of each test recording of a
    manifest. The prompt is the next recording of the voice, test recordings first, that has PROMPT_S; a voice
    without one has no line."""
    low, high = PROMPT_S
    for voice, own in table.groupby("voice", sort=True):
        own = own.sort_values("split", key=lambda split: split != "test", kind="stable")
        rows = list(own.to_dict("records"))
        fit = [i for i, row in enumerate(rows) if low <= row["duration_s"] <= high]
        for i, row in enumerate(rows):
            others = [j for j in fit if j > i] + [j for j in fit if j < i]
            if row["split"] != "test" or not others:
                continue
            prompt = rows[others[0]]
            found = (
                row["utterance"],
                prompt["text"],
                prompt["wav"],
                row["text"],
                row["wav"],
                voice,
            )
            yield tuple(map(str, found))


def build(
    kind: str, root: Path, out: Path, subsets: Sequence[str] = (), limit: int | None = None
) -> pd.DataFrame:
    """manifest.csv of `limit` recordings or all. Raises ValueError for an unknown kind, what the kinds raise,
    and FileNotFoundError naming a recording that is listed and not there."""
    if kind not in KINDS:
        raise ValueError(f"kind={kind}: valid are {', '.join(KINDS)}")
    with alone_in(out):
        return _build(kind, list(KINDS[kind](root, subsets))[:limit], root, out)


def _build(kind: str, sources: Sequence[Source], root: Path, out: Path) -> pd.DataFrame:
    (out / "wavs").mkdir(parents=True, exist_ok=True)
    rows, left_out = [], 0
    journal = out / "wavs.sha256"
    known = converted(journal)
    for source in track(sources, kind):
        text = readable(source.text)
        if text is None:
            left_out += 1
            continue
        if not source.path.is_file():
            raise FileNotFoundError(f"{source.path} is listed in {root} and is not there")
        wav = f"wavs/{source.utterance}.wav"
        seconds, found = convert(source.path, out / wav, known)
        if known.get(f"{source.utterance}.wav") != found:
            with journal.open(
                "a"
            ) as file:  # in the form of sha256sum; the last line of a name counts
                file.write(f"\n{found}  {source.utterance}.wav\n")
        row = asdict(source) | {"text": text, "wav": wav, "duration_s": seconds}
        rows.append({key: value for key, value in row.items() if key != "path"})
    if not rows:
        raise ValueError(f"{root}: none of {len(sources)} recordings has a text that can be read")
    table = pd.DataFrame(rows)
    with whole(out / "manifest.csv") as partial:
        table.to_csv(partial, index=False)
    if lines := ["|".join(fields) for fields in prompted(table)]:
        with whole(out / "meta.lst") as partial:
            partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    print(f"{len(lines)} test sentences with prompts -> {out / 'meta.lst' if lines else 'no list'}")
    hours = sum(row["duration_s"] for row in rows) / 3600
    print(f"{len(table)} recordings, {hours:.2f} h, {left_out} left out -> {out / 'manifest.csv'}")
    return table


if __name__ == "__main__":
    options = parse_arguments(
        __doc__, required=("kind", "root", "out"), optional=("subsets", "limit")
    )
    with clear_errors():
        build(
            options["kind"],
            Path(options["root"]),
            Path(options["out"]),
            tuple(filter(None, options.get("subsets", "").split(","))),
            int(options["limit"]) if "limit" in options else None,
        )
