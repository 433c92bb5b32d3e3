"""Speech tokens from text and a prompt: one row with little overhead, or a padded batch.

B batch, T prompt length, V speech codes.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamtra.lm.sampling import Sampling, sample
from mamtra.lm.sequence import KIND_PAD, KIND_SPEECH, Ids, build_prompt, eos_id
from mamtra.lm.speech_lm import SpeechLM

# CosyVoice 2 uses 2 and 20 speech tokens per BPE token; a BPE token is about four characters.
MIN_RATIO = 0.5
MAX_RATIO = 6.0


@dataclass
class GenerateResult:
    """One row's speech tokens. In a batch the two times are those of the whole batch."""

    tokens: list[int]  # codes 0..V-1, without the stop token
    hit_max: bool  # ended by the length limit, not by a stop token
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


@torch.inference_mode()
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
    Raises ValueError for an empty text or meaningless settings. The model must be in eval mode.
    """
    return generate_batch(
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
    )[0]


@torch.inference_mode()
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
) -> list[GenerateResult]:
    """As `generate` for several rows at once, right-padded in the prefill.

    Each row draws from its own generator, so its tokens do not depend on its neighbours (up to
    rounding of the batched matrix products).
    """
    if model.training:
        raise ValueError("generation needs the model in eval mode")
    if not len(text_ids) == len(prompt_speech_ids) == len(generators) > 0:
        raise ValueError(
            f"{len(text_ids)} texts, {len(prompt_speech_ids)} prompts and {len(generators)} "
            "generators do not make a batch"
        )
    settings = Sampling(top_p, top_k, window, tau, temperature)
    prompts = [build_prompt(t, p) for t, p in zip(text_ids, prompt_speech_ids, strict=True)]
    spoken = target_lengths or [len(ids) for ids in text_ids]
    limits = [length_limits(n, min_ratio, max_ratio) for n in spoken]
    most = max(limit[1] for limit in limits)

    started = time.perf_counter()
    embeds, mask = _embed_prompts(model, prompts)
    logits, state = model.prefill(embeds, mask, max_length=embeds.shape[1] + most)
    prefilled = time.perf_counter()
    prompted = torch.tensor([len(ids) for ids in prompt_speech_ids], device=model.device)
    rows = _decode(model, logits, state, prompted, limits, generators, settings)
    decode_s = time.perf_counter() - prefilled
    return [
        GenerateResult(tokens, hit_max, prefilled - started, decode_s) for tokens, hit_max in rows
    ]


def _embed_prompts(
    model: SpeechLM, prompts: list[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor | None]:
    """Right-padded prompt embeddings (B, T, D) and mask (B, T), None when nothing is padded."""
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad([ids for ids, _ in prompts], batch_first=True).to(model.device)
    kinds = pad([kinds for _, kinds in prompts], batch_first=True, padding_value=KIND_PAD)
    kinds = kinds.to(model.device)
    mask = kinds >= 0
    return model.embed(ids, kinds), None if bool(mask.all()) else mask


def _decode(
    model: SpeechLM,
    logits: Tensor,
    state,
    prompted: Tensor,
    limits: list[tuple[int, int]],
    generators: Sequence[torch.Generator],
    settings: Sampling,
) -> list[tuple[list[int], bool]]:
    """The token loop. prompted (B,): speech tokens of each prompt. Returns (tokens, hit_max) per row."""
    n_rows, first_stop = len(limits), eos_id(model.speech_vocab)
    fewest = [limit[0] for limit in limits]
    most = [limit[1] for limit in limits]
    # Two uniforms per step, drawn ahead: a row uses the same numbers whatever runs beside it.
    uniforms = torch.stack(
        [torch.rand(max(most), 2, generator=g, dtype=torch.float64) for g in generators], dim=1
    ).to(model.device)
    history = torch.full((n_rows, max(most)), -1, dtype=torch.int64, device=model.device)
    tokens: list[list[int]] = [[] for _ in range(n_rows)]
    hit_max = [True] * n_rows
    running = set(range(n_rows))
    speech = torch.full((n_rows, 1), KIND_SPEECH, dtype=torch.int8, device=model.device)
    for i in range(max(most)):
        for row in running:
            if i < fewest[row]:
                logits[row, first_stop:] = float("-inf")
        recent = history[:, max(0, i - settings.window) : i]
        drawn = sample(logits, recent, uniforms[i], settings)
        history[:, i] = drawn
        for row, token in enumerate(drawn.tolist()):
            if row not in running:
                continue
            if token >= first_stop:
                hit_max[row] = False
                running.discard(row)
                continue
            tokens[row].append(token)
            if i + 1 == most[row]:
                running.discard(row)
        if not running or i + 1 == max(most):
            break
        embeds = model.embed(drawn[:, None], speech, spoken=prompted + i)
        logits = model.step(embeds, state)[:, 0]
    return list(zip(tokens, hit_max, strict=True))
