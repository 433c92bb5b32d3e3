"""Bytes that a student of the open system holds when a sentence of the test list ends: what a Mamba layer and a
window are compared at."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from eval.efficiency.memory import counted
from eval.store.files import InputError
from eval.testset import read_meta
from mamtra.text.phonemes import PhonemeTokenizer
from studies.documents.sources import Sources

ASSETS = "assets/open"
MARKS = 2  # start of the sequence, and the token between text and speech


def mean_lengths(sources: Sources, utterances: frozenset[str]) -> tuple[int, int]:
    """(conditioning, generated) positions of the mean sentence: text and prompt, and the recording's tokens.

    Raises:
        InputError: the assets are not there, or a sentence or its prompt has no tokens in them.
    """
    rows = sources.parquet(f"{ASSETS}/tokens.parquet", ("utterance", "tokens"))
    spoken, assets = {row["utterance"]: len(row["tokens"]) for row in rows}, sources.root / ASSETS
    encode = PhonemeTokenizer().encode
    found = []
    for item in read_meta(assets / "meta.lst"):
        if item.utterance not in utterances or item.prompt_wav is None:
            continue
        prompt = item.prompt_wav.stem
        if missing := {item.utterance, prompt} - spoken.keys():
            raise InputError(f"{assets / 'tokens.parquet'} has no {', '.join(sorted(missing))}")
        text = len(encode(item.text)) + len(encode(item.prompt_text))
        found.append((MARKS + text + spoken[prompt], spoken[item.utterance]))
    if len(found) < len(utterances):
        n = len(utterances) - len(found)
        raise InputError(f"{assets / 'meta.lst'} lacks {n} of the sentences that were scored")
    conditioning, generated = np.mean(found, axis=0).round().astype(int).tolist()
    return conditioning, generated


@cache
def state_bytes(
    assets: Path, ratio: str, mixer: str, overrides: str, lengths: tuple[int, int]
) -> int:
    """Of one stream in fp32 at that length; `overrides` as a cell has them, such as "state=shared"."""
    conditioning, generated = lengths
    own = dict(word.split("=", 1) for word in overrides.split())
    chosen = {name: own[name] for name in ("state", "state_dtype") if name in own}
    model = counted(str(assets / "teacher"), ratio, "fp32", mixer=mixer, **chosen)
    return model.state_bytes(1, conditioning + generated, conditioning)
