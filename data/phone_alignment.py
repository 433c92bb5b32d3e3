"""Which token of a text each speech token speaks, from the times of Piper's phonemes.

The text has its own phonemes (`mamtra.text.phonemes`), Piper's come from espeak: they differ where two
dictionaries differ. A monotonic alignment of the two strings of sounds carries the exact times over.

Shapes: L text tokens, P timed phonemes, T speech tokens.
"""

from collections.abc import Sequence

import numpy as np

from data.corpus.phoneme_times import BOUNDARY, PAUSE
from mamtra.text.english import MARKS
from mamtra.text.phonemes import PhonemeTokenizer

SAMPLES_PER_TOKEN = 640
# ARPAbet without stress to Piper's symbols, one for each sound in them.
_IPA = """AA ɑ AE æ AH ə AO ɔ AW aʊ AY aɪ EH ɛ ER ɚ EY eɪ IH ɪ IY i OW oʊ OY ɔɪ UH ʊ UW u
    B b CH tʃ D d DH ð F f G ɡ HH h JH dʒ K k L l M m N n NG ŋ P p R ɹ S s SH ʃ T t TH θ V v W w Y j
    Z z ZH ʒ"""
IPA: dict[str, str] = dict(zip(_IPA.split()[::2], _IPA.split()[1::2], strict=True))
VOWELS = frozenset("iɪeɛæaɑɔoʊuʌəɚɜɐᵻ")
# Sounds of one line are nearly the same.
NEAR = ("ʌəɐ", "ɚɜɹ", "ɪᵻiə", "ɑɔ", "tdɾʔ", "sz", "ʃʒ", "θð", "fv", "kɡx", "pb", "mnŋ", "ʊu", "eɛ")
GAP, GAP_BOUNDARY = 0.7, 0.5


def _cost(ours: str, theirs: str) -> float:
    if ours == theirs:
        return 0.0
    if BOUNDARY in (ours, theirs) and PAUSE in (ours, theirs):
        return 0.2
    if {ours, theirs} & {BOUNDARY, PAUSE}:
        return 3.0
    if any(ours in line and theirs in line for line in NEAR):
        return 0.2
    if (ours in VOWELS) != (theirs in VOWELS):
        return 1.6
    return 0.6 if ours in VOWELS else 0.9


def _sounds(token: str) -> str:
    if token in MARKS:
        return PAUSE
    return IPA[token.rstrip("01")] if token != BOUNDARY else BOUNDARY


def match(tokens: Sequence[str], symbols: Sequence[str]) -> np.ndarray:
    """(P,) for each timed symbol the index of the text token that it speaks, never falling.

    tokens: `mamtra.text.phonemes` symbols; symbols: of `data.corpus.phoneme_times.merge`. A symbol that no
    token speaks goes with the one before it. Raises ValueError when either is empty.
    """
    if not tokens or not symbols:
        raise ValueError("nothing to align")
    owners = [i for i, token in enumerate(tokens) for _ in _sounds(token)]
    ours = [sound for token in tokens for sound in _sounds(token)]
    n, m = len(ours), len(symbols)
    skip_ours = [GAP_BOUNDARY if sound in (BOUNDARY, PAUSE) else GAP for sound in ours]
    skip_theirs = [GAP_BOUNDARY if sound in (BOUNDARY, PAUSE) else GAP for sound in symbols]
    total = np.zeros((n + 1, m + 1))
    total[1:, 0], total[0, 1:] = np.cumsum(skip_ours), np.cumsum(skip_theirs)
    step = np.zeros((n + 1, m + 1), dtype=np.int8)
    step[1:, 0], step[0, 1:] = 1, 2
    costs = {(a, b): _cost(a, b) for a in set(ours) for b in set(symbols)}
    for i in range(1, n + 1):
        above, row, sound = total[i - 1].tolist(), total[i].tolist(), ours[i - 1]
        for j in range(1, m + 1):
            choices = (
                above[j - 1] + costs[sound, symbols[j - 1]],
                above[j] + skip_ours[i - 1],
                row[j - 1] + skip_theirs[j - 1],
            )
            row[j] = min(choices)
            step[i, j] = choices.index(row[j])
        total[i] = row
    spoken = np.full(m, -1)
    i, j = n, m
    while i or j:
        move = step[i, j]
        i, j = i - (move != 2), j - (move != 1)
        if move == 0:
            spoken[j] = owners[i]
    return np.maximum.accumulate(np.maximum(spoken, 0))


def phoneme_alignment(
    text: str, symbols: Sequence[str], ends: np.ndarray, n_tokens: int
) -> np.ndarray:
    """(T,) the index of the phoneme token of `text` that the middle of each speech token speaks."""
    tokens = [symbol for group in PhonemeTokenizer().spoken(text) for symbol in group]
    return match(tokens, symbols)[_timed(ends, n_tokens)]


def letter_alignment(
    text: str, symbols: Sequence[str], ends: np.ndarray, n_tokens: int
) -> np.ndarray:
    """(T,) the index of the character of `text` that each speech token speaks, spread evenly over the time
    of its word. `text` is as the corpus has it: words, single spaces, marks behind words."""
    group_of, tokens = _groups(text)
    spoken = group_of[match(tokens, symbols)]  # (P,) word or gap of each timed symbol
    starts = np.concatenate(([0], ends[:-1]))
    middles = (np.arange(n_tokens) + 0.5) * SAMPLES_PER_TOKEN
    at = spoken[_timed(ends, n_tokens)]
    place = np.zeros(n_tokens)
    for g in np.unique(at):
        here = np.flatnonzero(spoken == g)
        begin, end = starts[here[0]], ends[here[-1]]
        place[at == g] = (middles[at == g] - begin) / max(end - begin, 1)
    return _letters(text, at, place)


def letters_of_phonemes(text: str, spoken: Sequence[int] | np.ndarray) -> np.ndarray:
    """(T,) the same from `phoneme_alignment`, (T,), where the recordings' times are no longer at hand: the time
    of a word is that of its speech tokens. Raises ValueError for an index that the text does not have."""
    group_of, tokens = _groups(text)
    spoken = np.asarray(spoken, dtype=np.int64)
    if len(spoken) == 0:
        raise ValueError("nothing to align")
    if not 0 <= spoken.min() <= spoken.max() < len(tokens):
        raise ValueError(
            f"an alignment to phonemes 0 to {len(tokens) - 1} names {spoken.min()} or {spoken.max()}"
        )
    at = group_of[spoken]
    place = np.zeros(len(at))
    for g in np.unique(at):
        here = at == g
        place[here] = (np.arange(here.sum()) + 0.5) / here.sum()
    return _letters(text, at, place)


def _groups(text: str) -> tuple[np.ndarray, list[str]]:
    """Word or gap of each text token, (L,), and the tokens."""
    groups = PhonemeTokenizer().spoken(text)
    group_of = np.asarray([g for g, group in enumerate(groups) for _ in group])
    return group_of, [symbol for group in groups for symbol in group]


def _letters(text: str, at: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The characters of the words or gaps `at` (T,) in which speech is at `place` (T,), 0 to 1."""
    words = text.split()
    starts, lengths, first = [], [], 0
    for word in words:
        bare = len(word.rstrip(MARKS))
        # A gap is the first of its characters: behind a comma stands a space that no time belongs to.
        starts += [first, first + bare]
        lengths += [bare, 1]
        first += len(word) + 1
    start, length = np.asarray(starts)[at], np.asarray(lengths)[at]
    inside = np.clip(place * length, 0, length - 1).astype(np.int64)
    return np.minimum(start + inside, len(text) - 1)


def _timed(ends: np.ndarray, n_tokens: int) -> np.ndarray:
    middles = (np.arange(n_tokens) + 0.5) * SAMPLES_PER_TOKEN
    return np.minimum(np.searchsorted(ends, middles, side="right"), len(ends) - 1)
