"""Piper's timed phonemes, one symbol for each sound, and which one each 10-ms frame speaks.

Shapes: P phonemes, F frames at 100 Hz.
"""

from collections.abc import Sequence

import numpy as np

SAMPLES_PER_FRAME = 160  # 100 Hz at 16 kHz
STRESS = frozenset("ˈˌ")  # their time belongs to the vowel behind them
LENGTH = frozenset(("ː", "ʲ", "\u0329", "\u0303"))  # theirs to the sound before them
ALIKE = {"r": "ɹ"}  # of a foreign word
PAUSES = frozenset("^$.,?!")
BOUNDARY = " "
PAUSE = "_"
SOUNDS = "pbtdkɡfvθðszʃʒhxmnŋlɹwjɾʔiɪeɛæaɑɔoʊuʌəɚɜɐᵻ"
SYMBOLS = PAUSE + SOUNDS
IGNORE = -1


def merge(phonemes: Sequence[str], ends: Sequence[int]) -> tuple[list[str], np.ndarray]:
    """Symbols (P,) of SOUNDS, PAUSE and BOUNDARY with the sample each ends at (P,).

    Stress and length marks give their time to their sound; pauses in a row are one. Raises ValueError
    naming a phoneme that is not known, and for times that are not as many or fall.
    """
    ends = np.asarray(ends, dtype=np.int64)
    if len(phonemes) != len(ends) or (np.diff(ends) < 0).any():
        raise ValueError(f"{len(ends)} ends that must not fall, for {len(phonemes)} phonemes")
    symbols: list[str] = []
    times: list[int] = []
    for phoneme, end in zip(phonemes, ends, strict=True):
        if phoneme in STRESS:
            continue
        symbol = PAUSE if phoneme in PAUSES else ALIKE.get(phoneme, phoneme)
        if phoneme in LENGTH or (symbols and symbol == PAUSE == symbols[-1]):
            times[-1] = int(end)
            continue
        if symbol not in SYMBOLS and symbol != BOUNDARY:
            raise ValueError(f"phoneme {phoneme!r} is not in {SYMBOLS!r}")
        symbols.append(symbol)
        times.append(int(end))
    return symbols, np.asarray(times)


def frame_labels(symbols: Sequence[str], ends: np.ndarray, n_frames: int) -> np.ndarray:
    """(F,) int8: which of SYMBOLS the middle of each frame speaks; IGNORE on word boundaries, whose time
    is no sound of its own, and PAUSE behind the last phoneme."""
    middles = (np.arange(n_frames) + 0.5) * SAMPLES_PER_FRAME
    index = np.searchsorted(ends, middles, side="right")
    ids = [IGNORE if symbol == BOUNDARY else SYMBOLS.index(symbol) for symbol in symbols]
    return np.asarray([*ids, 0], dtype=np.int8)[np.minimum(index, len(symbols))]
