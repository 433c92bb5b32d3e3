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

from mamtra.lm.generate import MAX_RATIO, MIN_RATIO, length_limits
from mamtra.lm.sampling import Sampling, sample
from mamtra.lm.sequence import (
    KIND_SPECIAL,
    KIND_SPEECH,
    KIND_TEXT,
    MIX_RATIO,
    SOS,
    TASK,
    Ids,
    build_prompt,
    eos_id,
    fill_id,
)
from mamtra.lm.speech_lm import SpeechLM

MAX_LENGTH = 8192  # positions of a bistream: its attention layers keep a cache for as many


class _Live:
    """A model with a live state: takes tokens in, draws the next one."""

    def __init__(
        self, model: SpeechLM, generator: torch.Generator, settings: Sampling, max_length: int
    ) -> None:
        if model.training:
            raise ValueError("generation needs the model in eval mode")
        self.model, self.generator, self.settings = model, generator, settings
        self.max_length, self.state = max_length, None
        self.ids: list[int] = []  # waiting to be fed
        self.kinds: list[int] = []
        self.drawn: list[int] = []  # fill tokens too, as upstream's sampling sees them
        self.spoken = 0

    def add(self, ids: Iterable[int], kind: int) -> None:
        """Puts tokens in line."""
        before = len(self.ids)
        self.ids += [int(i) for i in ids]
        self.kinds += [kind] * (len(self.ids) - before)

    @torch.inference_mode()
    def draw(self, banned: Iterable[int]) -> int:
        """Feeds what waits and draws the next token, which is not fed yet."""
        device = self.model.device
        ids = torch.tensor([self.ids], device=device)
        kinds = torch.tensor([self.kinds], dtype=torch.int8, device=device)
        embeds = self.model.embed(ids, kinds, spoken=self.spoken)
        if self.state is None:
            logits, self.state = self.model.prefill(embeds, max_length=self.max_length)
        else:
            logits = self.model.step(embeds, self.state)[:, -1]
        self.spoken += self.kinds.count(KIND_SPEECH)
        self.ids, self.kinds = [], []
        logits[:, list(banned)] = float("-inf")
        window = self.settings.window
        recent = torch.tensor([self.drawn[-window:] if window else []], device=device)
        uniforms = torch.rand(1, 2, generator=self.generator, dtype=torch.float64).to(device)
        self.drawn.append(int(sample(logits, recent.long(), uniforms, self.settings)))
        return self.drawn[-1]


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
    ids, kinds = build_prompt(text_ids, prompt_speech_ids)
    fewest, most = length_limits(target_length, min_ratio, max_ratio)
    live = _Live(model, generator, Sampling(**sampling), len(ids) + most)  # type: ignore[arg-type]
    live.ids, live.kinds = ids.tolist(), kinds.tolist()
    yield from _until_eos(live, fewest, most)


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
    live = _Live(model, generator, Sampling(**sampling), max_length)  # type: ignore[arg-type]
    n_text, n_speech = mix
    eos, fill = eos_id(model.speech_vocab), fill_id(model.speech_vocab)
    text, prompt = [int(i) for i in prompt_text_ids], [int(i) for i in prompt_speech_ids]
    live.add([SOS], KIND_SPECIAL)
    n_pieces, n_spoken = 0, 0
    left_in_block = 0
    for piece in text_pieces:
        n_pieces += len(piece)
        text += [int(i) for i in piece]
        while prompt and len(text) >= n_text:
            block = prompt[:n_speech]
            live.add(text[:n_text], KIND_TEXT)
            live.add(block, KIND_SPEECH)
            text, prompt = text[n_text:], prompt[n_speech:]
            left_in_block = n_speech - len(block)
        while not prompt and (left_in_block or len(text) >= n_text):
            if not left_in_block:
                live.add(text[:n_text], KIND_TEXT)
                text, left_in_block = text[n_text:], n_speech
            token = live.draw(banned=(eos, eos + 1))
            if token == fill:
                left_in_block = 0
                continue
            yield token
            live.add([token], KIND_SPEECH)
            n_spoken, left_in_block = n_spoken + 1, left_in_block - 1
            if not left_in_block:
                live.drawn.append(fill)  # forced, and seen by the sampling like one that is drawn
    if not n_pieces:
        raise ValueError("the text has no tokens")
    live.add(text, KIND_TEXT)
    live.add([TASK], KIND_SPECIAL)
    live.add(prompt, KIND_SPEECH)
    fewest, most = length_limits(n_pieces, min_ratio, max_ratio)
    yield from _until_eos(live, fewest - n_spoken, max(most - n_spoken, 1))


def _until_eos(live: _Live, fewest: int, most: int) -> Iterator[int]:
    """Speech tokens until a stop token, at least `fewest` and at most `most`."""
    first_stop = eos_id(live.model.speech_vocab)
    stops = tuple(range(first_stop, fill_id(live.model.speech_vocab) + 1))
    for i in range(most):
        token = live.draw(banned=stops if i < fewest else ())
        if token >= first_stop:
            return
        yield token
        live.add([token], KIND_SPEECH)
