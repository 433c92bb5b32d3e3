"""Test lists from LibriTTS test-clean, in seed-tts-eval's five fields.

python -m data.test_lists root=<LibriTTS> out=<folder> [kind=zero_shot|length_stress] [seed=0]

zero_shot      every utterance of 1-27 words (the range of Seed-TTS test-en), said in the voice of another
               utterance of the same reader
length_stress  50 texts in each of nine bins of 1 to 250 words, said in the voices of ten fixed prompts

writes <out>/meta.lst and <out>/list.json: the counts, the seed, and the sha256 of the list and of its names
and texts. Equal recordings and seed give equal names, texts and prompts on every machine (`texts_sha256`), and
equal bytes where corpus and `out` lie alike; `tools.check_data` tells whether a list is still as it was built.
Paths are relative to `out`. Texts with digits or the separator "|" are left out, and counted.
"""

import hashlib
import json
import os
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from data.arguments import parse_arguments
from data.libritts import Utterance, scan

SUBSET = "test-clean"
ORDINARY_WORDS = (1, 27)
PROMPT_SECONDS = (3.0, 8.0)
BINS = (
    *((1, 2), (3, 5), (6, 10), (11, 20), (21, 30), (31, 45), (46, 62)),  # the paper's range
    *((63, 120), (121, 250)),  # consecutive sentences of one chapter
)
TEXTS_PER_BIN = 50
N_PROMPTS = 10


@dataclass(frozen=True)
class Line:
    """One line of a list. `words` is the length of the text."""

    name: str
    prompt: Utterance
    text: str
    recording: Path | None

    def write(self, out: Path) -> str:
        """The six fields, paths relative to `out`; the recording may be empty."""
        # Resolved: behind a link ".." leads elsewhere.
        home, places = out.resolve(), (self.prompt.wav, self.recording)
        wavs = [os.path.relpath(p.resolve(), home) if p else "" for p in places]
        prompt_text = self.prompt.text or ""
        return "|".join([self.name, prompt_text, wavs[0], self.text, wavs[1], self.prompt.voice])


def readable(text: str | None) -> bool:
    """Whether a text can be scored as it stands: it has letters, no digits, and is one field of a list."""
    return bool(text) and not any(c.isdigit() or c == "|" for c in text or "")


def prompts_of(utterances: Sequence[Utterance]) -> dict[str, list[Utterance]]:
    """For each reader the recordings that can be a prompt: 3 to 8 seconds, a readable text."""
    found: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        if readable(utterance.text):
            try:
                info = soundfile.info(str(utterance.wav))
            except (OSError, soundfile.SoundFileError) as error:
                raise ValueError(
                    f"{utterance.wav} cannot be read ({error}): unpack it again"
                ) from None
            seconds = info.frames / info.samplerate
            if PROMPT_SECONDS[0] <= seconds <= PROMPT_SECONDS[1]:
                found[utterance.voice].append(utterance)
    return found


def zero_shot(utterances: Sequence[Utterance], seed: int) -> tuple[list[Line], dict[str, int]]:
    """Lines in the order of `utterances`, and how many were left out, by reason.

    The prompt of an utterance depends on its name, the seed, and the reader's recordings.
    """
    prompts, lines = prompts_of(utterances), []
    reasons = ("no readable text", "too long or short", "no prompt of its reader")
    dropped: dict[str, int] = dict.fromkeys(reasons, 0)
    fewest, most = ORDINARY_WORDS
    for utterance in utterances:
        others = [p for p in prompts.get(utterance.voice, []) if p.name != utterance.name]
        text = utterance.text or ""
        if not readable(text):
            dropped["no readable text"] += 1
        elif not fewest <= len(text.split()) <= most:
            dropped["too long or short"] += 1
        elif not others:
            dropped["no prompt of its reader"] += 1
        else:
            prompt = random.Random(f"{seed}-{utterance.name}").choice(others)
            lines.append(Line(utterance.name, prompt, text, utterance.wav))
    return lines, dropped


def length_stress(utterances: Sequence[Utterance], seed: int) -> tuple[list[Line], dict[str, int]]:
    """`TEXTS_PER_BIN` texts per bin and how many a bin lacks; the prompts take turns inside each bin.

    Names say the bin and the number of words: words-063-120-0007-98. No text shares a chapter with its
    prompt, so that no prompt is its own answer. Raises ValueError with fewer than ten readers.
    """
    rng = random.Random(seed)
    voices = prompts_of(utterances)
    if len(voices) < N_PROMPTS:
        raise ValueError(
            f"{len(voices)} readers have a recording of {PROMPT_SECONDS[0]:.0f} to "
            f"{PROMPT_SECONDS[1]:.0f} s; {N_PROMPTS} are needed for the prompts"
        )
    chosen = rng.sample(sorted(voices), N_PROMPTS)
    prompts = [rng.choice(voices[voice]) for voice in chosen]
    texts = candidates(utterances)
    lines, short = [], {}
    for low, high in BINS:
        pool = sorted(text for text in texts if low <= len(text[0].split()) <= high)
        rng.shuffle(pool)
        picked = spread(pool, TEXTS_PER_BIN)
        if len(picked) < TEXTS_PER_BIN:
            short[f"{low}-{high} words: texts lacking"] = TEXTS_PER_BIN - len(picked)
        for number, (text, chapter, recording) in enumerate(picked):
            turn = [prompts[(number + i) % N_PROMPTS] for i in range(N_PROMPTS)]
            prompt = next(p for p in turn if p.wav.parent != chapter)
            name = f"words-{low:03d}-{high:03d}-{number:04d}-{len(text.split())}"
            lines.append(Line(name, prompt, text, recording))
    return lines, short


Candidate = tuple[str, Path, Path | None]  # text, chapter, recording


def candidates(utterances: Sequence[Utterance]) -> list[Candidate]:
    """Each text as it is recorded, and for the long bins runs of consecutive sentences, which have no
    recording. Every text once; a sentence is in one run at most."""
    found: dict[str, Candidate] = {}
    chapters: dict[Path, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        chapters[utterance.wav.parent].append(utterance)
        if utterance.text and readable(utterance.text):
            single = (utterance.text, utterance.wav.parent, utterance.wav)
            found.setdefault(utterance.text, single)
    longest_recorded = BINS[6][1]
    for number, (chapter, members) in enumerate(sorted(chapters.items())):
        # Every other chapter fills the longest bin, the rest the one before it.
        low, high = BINS[-1] if number % 2 else BINS[-2]
        run: list[str] = []
        for utterance in sorted(members, key=lambda u: u.name):
            if not readable(utterance.text):
                run = []
                continue
            run.append(utterance.text or "")
            n_words = len(" ".join(run).split())
            if n_words > high:
                run = []
            elif n_words >= low and n_words > longest_recorded:
                joined = " ".join(run)
                found.setdefault(joined, (joined, chapter, None))
                run = []
    return list(found.values())


def spread(pool: Sequence[Candidate], count: int) -> list[Candidate]:
    """`count` of a shuffled pool, at evenly spaced ranks of their lengths."""
    ranked = sorted(pool, key=lambda c: len(c[0].split()))  # stable: ties stay shuffled
    if len(ranked) <= count:
        return ranked
    return [ranked[i * len(ranked) // count] for i in range(count)]


def write_list(lines: Sequence[Line], out: Path, facts: dict) -> str:
    """Write meta.lst and list.json, each whole or not at all; the list's sha256."""
    out.mkdir(parents=True, exist_ok=True)
    content = "".join(line.write(out) + "\n" for line in lines).encode()
    digest = hashlib.sha256(content).hexdigest()
    texts = "".join(f"{line.name}|{line.prompt.name}|{line.text}\n" for line in lines).encode()
    hashes = {"sha256": digest, "texts_sha256": hashlib.sha256(texts).hexdigest()}
    described = json.dumps(facts | {"lines": len(lines)} | hashes, indent=1) + "\n"
    for name, data in (("meta.lst", content), ("list.json", described.encode())):
        partial = out / f"{name}.partial"
        partial.write_bytes(data)
        os.replace(partial, out / name)
    return digest


KINDS = {"zero_shot": zero_shot, "length_stress": length_stress}


def main() -> None:
    """The command line in this file's docstring; errors are one line."""
    given = {"kind": "zero_shot", "seed": "0"}
    given |= parse_arguments(__doc__, required=("root", "out"), optional=("kind", "seed"))
    out, kind = Path(given["out"]), given["kind"]
    if kind not in KINDS:
        sys.exit(f"error: kind is {' or '.join(KINDS)}, not {kind!r}")
    try:
        lines, left_out = KINDS[kind](scan(Path(given["root"]), [SUBSET]), int(given["seed"]))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
    facts = {"kind": kind, "subset": SUBSET, "seed": int(given["seed"]), "left_out": left_out}
    digest = write_list(lines, out, facts)
    print(f"{len(lines)} lines -> {out / 'meta.lst'} (sha256 {digest[:12]}); left out: {left_out}")


if __name__ == "__main__":
    main()
