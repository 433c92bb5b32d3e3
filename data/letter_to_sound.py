"""Trains the shipped letter-to-sound model on the CMU dictionary; says how good it is on held-out words.

    python -m data.letter_to_sound out=mamtra/text/letter_to_sound.safetensors [epochs=12]

Letters and phonemes are aligned first, by expectation maximisation in its Viterbi form: each letter takes
no, one or two phonemes. Every twentieth word is held out.

Shapes: L letters of a word, P phonemes.
"""

import json
import math
import os
import random
import re
from collections import Counter
from pathlib import Path

import torch
from torch.nn import functional as F

from data.arguments import parse_arguments
from mamtra.text.letter_to_sound import LETTERS, LetterToSound, letter_ids
from mamtra.text.lexicon import Pronunciation, dictionary
from mamtra.weights_file import save_tensors

MAX_CHUNK = 2
MIN_CHUNK_COUNT = 20
ROUNDS = 4
HELD_OUT_EVERY = 20
BATCH = 512
Chunk = tuple[str, ...]


def words() -> list[tuple[str, Pronunciation]]:
    """Dictionary words of letters alone with their phonemes, in a fixed random order."""
    found = [(w, p) for w, p in dictionary().items() if re.fullmatch("[a-z]{2,}", w)]
    random.Random(0).shuffle(found)
    return found


def align(word: str, phones: Pronunciation, cost: dict[tuple[str, Chunk], float]) -> list[Chunk]:
    """The cheapest chunk for each letter; empty when the phonemes do not fit the letters."""
    best = {0: (0.0, [])}
    for letter in word:
        after: dict[int, tuple[float, list[Chunk]]] = {}
        for spoken, (total, chunks) in best.items():
            for size in range(MAX_CHUNK + 1):
                end = spoken + size
                if end > len(phones):
                    break
                chunk = phones[spoken:end]
                price = total + cost.get((letter, chunk), 12.0 + size)
                if end not in after or price < after[end][0]:
                    after[end] = (price, [*chunks, chunk])
        best = after
    return best.get(len(phones), (0.0, []))[1]


def align_all(pairs: list[tuple[str, Pronunciation]]) -> list[list[Chunk]]:
    """Chunks of every word. Starts from which letters and phonemes share words at like places."""
    counts: Counter[tuple[str, Chunk]] = Counter()
    for word, phones in pairs:
        for i, letter in enumerate(word):
            place = int(i * len(phones) / len(word))
            counts[letter, phones[place : place + 1]] += 1
            counts[letter, ()] += 0.3  # type: ignore[assignment]
    aligned: list[list[Chunk]] = []
    for _ in range(ROUNDS):
        totals: Counter[str] = Counter()
        for (letter, _), count in counts.items():
            totals[letter] += count
        cost = {key: -math.log(n / totals[key[0]]) for key, n in counts.items() if n > 0}
        aligned = [align(word, phones, cost) for word, phones in pairs]
        counts = Counter(
            (letter, chunk)
            for (word, _), chunks in zip(pairs, aligned, strict=True)
            for letter, chunk in zip(word, chunks, strict=False)
        )
    return aligned


def edit_distance(a: Pronunciation, b: Pronunciation) -> int:
    """Substitutions, insertions and deletions that turn `a` into `b`."""
    row = list(range(len(b) + 1))
    for i, one in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]


def evaluate(model: LetterToSound, pairs: list[tuple[str, Pronunciation]]) -> dict[str, float]:
    """Phoneme error rate and share of words all right, with stress and (`_no_stress`) without."""
    errors = {"": 0, "_no_stress": 0}
    right = {"": 0, "_no_stress": 0}
    for word, phones in pairs:
        said = model.pronounce(word)
        for name, form in (("", lambda p: p), ("_no_stress", lambda p: tuple(x[:2] for x in p))):
            wrong = edit_distance(form(said), form(phones))
            errors[name] += wrong
            right[name] += not wrong
    n_phones = sum(len(phones) for _, phones in pairs)
    return {f"phoneme_error{name}": errors[name] / n_phones for name in errors} | {
        f"words_right{name}": right[name] / len(pairs) for name in right
    }


def fit(pairs: list[tuple[str, Pronunciation]], epochs: int, lr: float = 3e-3) -> LetterToSound:
    """A model of the words, printed progress once an epoch."""
    torch.manual_seed(0)
    aligned = align_all(pairs)
    counts = Counter(chunk for chunks in aligned for chunk in chunks)
    known = tuple(chunk for chunk, n in counts.most_common() if n >= MIN_CHUNK_COUNT)
    index = {chunk: i for i, chunk in enumerate(known)}
    rows = [
        (letter_ids(word), [index[chunk] for chunk in chunks])
        for (word, _), chunks in zip(pairs, aligned, strict=True)
        if chunks and all(chunk in index for chunk in chunks)
    ]
    print(f"{len(rows)} of {len(pairs)} words aligned, {len(known)} chunks, {len(LETTERS)} letters")
    model = LetterToSound(known)
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=0.01)
    rows.sort(key=lambda row: len(row[0]))
    batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * len(batches))
    for epoch in range(epochs):
        total = 0.0
        for batch in random.Random(epoch).sample(batches, len(batches)):
            x, y = (_padded([row[part] for row in batch], fill) for part, fill in ((0, 0), (1, -1)))
            with torch.autocast("cpu", torch.bfloat16):
                scores = model(x).flatten(0, 1)
            loss = F.cross_entropy(scores.float(), y.flatten(), ignore_index=-1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        print(f"epoch {epoch + 1}/{epochs}: {total / len(batches):.3f} nats a letter", flush=True)
    return model.eval()


def _padded(rows: list[list[int]], fill: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])


def main(out: Path, epochs: int) -> None:
    pairs = words()
    held_out = pairs[::HELD_OUT_EVERY]
    model = fit([pair for i, pair in enumerate(pairs) if i % HELD_OUT_EVERY], epochs)
    quality = {name: round(value, 4) for name, value in evaluate(model, held_out).items()}
    tensors = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    about = {"chunks": json.dumps(model.chunks), "held_out": json.dumps(quality)}
    partial = out.with_suffix(".partial")
    save_tensors(tensors, partial, about)
    os.replace(partial, out)
    print(f"{len(held_out)} held-out words: {quality} -> {out} ({out.stat().st_size / 1e3:.0f} kB)")


if __name__ == "__main__":
    options = parse_arguments(__doc__, required=("out",), optional=("epochs",))
    main(Path(options["out"]), int(options.get("epochs", 12)))
