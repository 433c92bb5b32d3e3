"""Speech tokens one by one: as soon as they are drawn, and while text still arrives.

Two layouts (CosyVoice llm.py:474-502 and :552-661):

    unistream  [sos, text, task, prompt speech] -> speech until eos: all of the text is known
    bistream   [sos, (5 text, 15 speech) ..., rest of the text, task] -> speech until eos: text comes in
               pieces, each block of 15 speech tokens asks for five more text tokens

The bistream layout continues the prompt's speech where it stands, so that what the model sees is what
`build_bistream` trained it on. V speech codes, K new positions.
"""

from collections.abc import Iterable, Iterator

import torch

from mamtra.lm.engine import Engine
from mamtra.lm.generate import MAX_RATIO, MIN_RATIO, NOTHING_DRAWN, length_limits
from mamtra.lm.rows import Row, Sentence
from mamtra.lm.sampling import NOTHING, Sampling
from mamtra.lm.sequence import (
    KIND_SPECIAL,
    KIND_SPEECH,
    KIND_TEXT,
    MIX_RATIO,
    SOS,
    TASK,
    Ids,
    eos_id,
    fill_id,
)
from mamtra.lm.speech_lm import SpeechLM

MAX_LENGTH = 8192  # positions of a bistream: its attention layers keep a cache for as many


def stream_tokens(
    model: SpeechLM,
    text_ids: Ids,
    prompt_speech_ids: Ids,
    generator: torch.Generator,
    *,
    target_length: int,
    min_ratio: float = MIN_RATIO,
    max_ratio: float = MAX_RATIO,
    **sampling: float,
) -> Iterator[int]:
    """The tokens of `generate`, each as soon as it is drawn.

    text_ids: prompt text and text, the last `target_length` of which are to be spoken; `sampling`: fields
    of `Sampling`. Raises ValueError as `generate` does.
    """
    limits = length_limits(target_length, min_ratio, max_ratio)
    row = Sentence(text_ids, prompt_speech_ids, generator, limits, model.speech_vocab)
    settings = Sampling(**sampling)  # type: ignore[arg-type]
    engine = Engine(model, settings, capacity=1, max_length=row.max_length)
    engine.add([row])
    while drawn := engine.draw():
        ((_, token),) = drawn
        _check(token)
        if token < row.first_stop:
            yield token


def stream_bistream(
    model: SpeechLM,
    text_pieces: Iterable[Ids],
    prompt_text_ids: Ids,
    prompt_speech_ids: Ids,
    generator: torch.Generator,
    *,
    min_ratio: float = MIN_RATIO,
    max_ratio: float = MAX_RATIO,
    max_length: int = MAX_LENGTH,
    mix: tuple[int, int] = MIX_RATIO,
    **sampling: float,
) -> Iterator[int]:
    """Speech tokens of a text that arrives in pieces, spoken as far as it is known.

    For a model trained with bistream sequences. A fill token is forced after each 15 speech tokens
    and may be drawn before; the end is allowed only when no text is left. Prompt speech that the text
    does not outlast follows the task token, as in training. `max_ratio` bounds what follows the last of
    the text: the blocks before it have their 15 tokens whatever it says.
    Raises ValueError for a model that counts its text, an empty text, settings without meaning, and when
    `max_length` positions do not suffice.
    """
    length_limits(
        1_000, min_ratio, max_ratio
    )  # ratios without meaning stop before anything is spoken
    if model.sizes.text_rate:
        raise ValueError(
            "this model was trained with the position in the whole text as a feature (text_rate): it "
            "cannot speak before it knows the text"
        )
    settings = Sampling(**sampling)  # type: ignore[arg-type]
    engine, row = Engine(model, settings, capacity=1, max_length=max_length), Row(generator)
    engine.add([row])
    n_text, n_speech = mix
    eos, fill = eos_id(model.speech_vocab), fill_id(model.speech_vocab)
    text, prompt = [int(i) for i in prompt_text_ids], [int(i) for i in prompt_speech_ids]
    row.feed([SOS], KIND_SPECIAL)
    n_pieces, n_spoken = 0, 0
    left_in_block = 0
    for piece in text_pieces:
        n_pieces += len(piece)
        text += [int(i) for i in piece]
        while prompt and len(text) >= n_text:
            block = prompt[:n_speech]
            row.feed(text[:n_text], KIND_TEXT)
            row.feed(block, KIND_SPEECH)
            text, prompt = text[n_text:], prompt[n_speech:]
            left_in_block = n_speech - len(block)
        while not prompt and (left_in_block or len(text) >= n_text):
            if not left_in_block:
                row.feed(text[:n_text], KIND_TEXT)
                text, left_in_block = text[n_text:], n_speech
            token = _draw(engine, row, banned=slice(eos, eos + 2))
            if token == fill:
                left_in_block = 0
                continue
            yield token
            row.feed([token], KIND_SPEECH)
            n_spoken, left_in_block = n_spoken + 1, left_in_block - 1
            if not left_in_block:
                engine.remember(row, fill)  # forced, and seen by the sampling like one drawn
    if not n_pieces:
        raise ValueError("the text has no tokens")
    row.feed(text, KIND_TEXT)
    row.feed([TASK], KIND_SPECIAL)
    row.feed(prompt, KIND_SPEECH)
    fewest, most = length_limits(n_pieces, min_ratio, max_ratio)
    fewest, most = fewest - n_spoken, max(most - n_spoken, 1)
    for i in range(most):
        token = _draw(engine, row, banned=slice(eos, None) if i < fewest else None)
        if token >= eos:
            return
        yield token
        row.feed([token], KIND_SPEECH)


def _draw(engine: Engine, row: Row, banned: slice | None) -> int:
    row.banned = banned
    ((_, token),) = engine.draw()
    _check(token)
    return token


def _check(token: int) -> None:
    if token == NOTHING:
        raise ValueError(NOTHING_DRAWN)
