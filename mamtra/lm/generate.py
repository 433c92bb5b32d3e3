"""Speech tokens from text and a prompt, for one row or many: what `mamtra.lm.engine` decodes, as a function."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mamtra.lm.engine import Engine
from mamtra.lm.rows import Sentence
from mamtra.lm.sampling import Sampling
from mamtra.lm.sequence import Ids
from mamtra.lm.speech_lm import SpeechLM

# CosyVoice 2 uses 2 and 20 speech tokens per BPE token; a BPE token is about four characters.
MIN_RATIO = 0.5
MAX_RATIO = 6.0
NOTHING_DRAWN = "the model produced logits from which nothing can be drawn (NaN or inf)"


@dataclass
class GenerateResult:
    """One row's speech tokens. In a batch the two times are those of the whole batch."""

    tokens: list[int]  # codes 0..V-1, without the stop token
    hit_max: bool  # ended by the length limit, not by a stop token
    failed: bool  # ended by logits from which nothing can be drawn (NaN or inf)
    prefill_s: float
    decode_s: float


def length_limits(target_length: int, min_ratio: float, max_ratio: float) -> tuple[int, int]:
    """(fewest, most) speech tokens for `target_length` text tokens.

    Raises ValueError when the ratios leave no length to choose.
    """
    fewest, most = int(target_length * min_ratio), int(target_length * max_ratio)
    if min_ratio < 0 or most < max(fewest, 1):
        raise ValueError(
            f"{target_length} text tokens with {min_ratio=} and {max_ratio=} allow no length"
        )
    return fewest, most


def generate(
    model: SpeechLM,
    text_ids: Ids,
    prompt_speech_ids: Ids,
    generator: torch.Generator,
    *,
    target_length: int | None = None,
    top_p: float = Sampling.top_p,
    top_k: int = Sampling.top_k,
    window: int = Sampling.window,
    tau: float = Sampling.tau,
    temperature: float = Sampling.temperature,
    min_ratio: float = MIN_RATIO,
    max_ratio: float = MAX_RATIO,
) -> GenerateResult:
    """Continue the prompt speech by the speech of the text.

    text_ids: prompt text followed by the text to speak. target_length: how many trailing text ids
    are to be spoken (all when None); times min_ratio / max_ratio it bounds the speech length, and
    the stop tokens are banned below the minimum. generator: a CPU generator, the only randomness.
    Raises ValueError for an empty text, meaningless settings, a model in training mode, and logits from
    which nothing can be drawn.
    """
    (result,) = generate_batch(
        model,
        [text_ids],
        [prompt_speech_ids],
        [generator],
        target_lengths=None if target_length is None else [target_length],
        top_p=top_p,
        top_k=top_k,
        window=window,
        tau=tau,
        temperature=temperature,
        min_ratio=min_ratio,
        max_ratio=max_ratio,
    )
    if result.failed:
        raise ValueError(NOTHING_DRAWN)
    return result


def generate_batch(
    model: SpeechLM,
    text_ids: Sequence[Ids],
    prompt_speech_ids: Sequence[Ids],
    generators: Sequence[torch.Generator],
    *,
    target_lengths: Sequence[int] | None = None,
    top_p: float = Sampling.top_p,
    top_k: int = Sampling.top_k,
    window: int = Sampling.window,
    tau: float = Sampling.tau,
    temperature: float = Sampling.temperature,
    min_ratio: float = MIN_RATIO,
    max_ratio: float = MAX_RATIO,
    rows: int | None = None,
) -> list[GenerateResult]:
    """As `generate` for several rows, at most `rows` of them at a time (None: all together).

    Each row draws from its own generator, so its tokens do not depend on its neighbours (up to
    rounding of the batched matrix products). A row from whose logits nothing can be drawn ends there,
    `failed`; the others go on.
    """
    if not len(text_ids) == len(prompt_speech_ids) == len(generators) > 0:
        raise ValueError(
            f"{len(text_ids)} texts, {len(prompt_speech_ids)} prompts and {len(generators)} "
            "generators do not make a batch"
        )
    spoken = target_lengths or [len(ids) for ids in text_ids]
    given = zip(text_ids, prompt_speech_ids, generators, spoken, strict=True)
    sentences = [
        Sentence(text, prompt, g, length_limits(n, min_ratio, max_ratio), model.speech_vocab)
        for text, prompt, g, n in given
    ]
    engine = Engine(
        model,
        Sampling(top_p, top_k, window, tau, temperature),
        capacity=min(rows or len(sentences), len(sentences)),
        max_length=max(sentence.max_length for sentence in sentences),
    )
    engine.add(sentences)
    while engine.draw():
        pass
    return [
        GenerateResult(s.tokens, s.hit_max, s.failed, engine.prefill_s, engine.decode_s)
        for s in sentences
    ]
