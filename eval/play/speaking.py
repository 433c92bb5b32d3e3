"""One text by several models, piece by piece, with word of how far it is. n samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from eval.store.files import InputError
from mamtra.lm.stream import stream_tokens
from mamtra.systems import TextFrontend
from mamtra.tts import Prompt, Synthesizer, piece_generators

MAX_CHARACTERS = 5_000
REPORT_EVERY_S = 0.3


class Stopped(Exception):
    """Nobody waits for the rest: the tab is closed, the server ends, or somebody said so."""


@dataclass(frozen=True)
class Progress:
    """`system` is at piece `piece` (from 0), of which it has drawn `seconds` of speech."""

    system: str
    piece: int
    seconds: float


@dataclass(frozen=True)
class SpokenPiece:
    """A piece that is said: `wave` (n,)."""

    system: str
    piece: int
    text: str
    wave: torch.Tensor


def pieces_of(text: str, frontend: TextFrontend) -> list[str]:
    """The text as it is read, in parts. Raises InputError, in one sentence, for what cannot be said."""
    if not text.strip():
        raise InputError("there is no text: type a sentence")
    if len(text) > MAX_CHARACTERS:
        raise InputError(
            f"the text has {len(text):,} characters: {MAX_CHARACTERS:,} at most, say it in parts"
        )
    return read(text, frontend, "the text", frontend.pieces)


def check_prompt_text(text: str, frontend: TextFrontend) -> None:
    """Raises InputError for the text of a prompt that cannot be read."""
    read(text, frontend, "the words of the prompt", lambda given: [frontend.whole(given)])


def read(
    text: str, frontend: TextFrontend, what: str, cut: Callable[[str], list[str]]
) -> list[str]:
    """What `cut` makes of a text, every part of it encodable. Raises InputError, saying of `what`."""
    try:
        pieces = cut(text)
        for piece in pieces:
            frontend.encode(piece)
    except ValueError as error:
        raise InputError(f"{what}: {_shortened(str(error), text)}") from None
    if not pieces:
        raise InputError(f"{what} has nothing to speak")
    return pieces


def speak(
    systems: Mapping[str, Synthesizer],
    pieces: list[str],
    prompt: Prompt,
    seed: int,
    stopped: Callable[[], bool],
    **sampling: Any,
) -> Iterator[Progress | SpokenPiece]:
    """Every piece by every system before the next piece; tokens are those of `Synthesizer.speak`.

    `stopped` is asked before every token. Raises Stopped.
    """
    draws = {name: piece_generators([0] * len(pieces), [seed]) for name in systems}
    for number, piece in enumerate(pieces):
        for name, tts in systems.items():
            yield Progress(name, number, 0.0)
            ids = tts.tokenizer.encode(piece)
            tokens = stream_tokens(
                tts.lm,
                [*prompt.text_ids, *ids],
                prompt.tokens,
                draws[name][number],
                target_length=len(ids),
                **(tts.sampling | sampling),
            )
            waves, chunks, said = tts.codec.stream(prompt.voice), [], time.monotonic()
            for n_tokens, token in enumerate(tokens, 1):
                if stopped():
                    raise Stopped
                chunks.append(waves.push([token], final=False))
                if time.monotonic() - said > REPORT_EVERY_S:
                    said = time.monotonic()
                    yield Progress(name, number, n_tokens / tts.codec.token_rate_hz)
            if stopped():
                raise Stopped
            chunks.append(waves.push([], final=True))
            yield SpokenPiece(name, number, piece, torch.cat(chunks).float().cpu())


def _shortened(message: str, text: str) -> str:
    """A message without the whole of a long text in it."""
    return message.replace(repr(text), "the text") if len(text) > 60 else message
