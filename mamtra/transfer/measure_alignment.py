"""How well a layer aligns text and speech: the Optimal Alignment Score, without any training.

Wang et al. 2025 (arXiv 2509.19852), "OAS": the Viterbi path through the attention that speech positions lay on
text positions, and the mean attention on it. In CosyVoice 2 the heads that score high are in the middle layers.
`placement=oas` keeps the layers whose best head scores highest.

N matrices, B batch, T time, S speech positions that predict speech, L text positions.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from mamtra.backbone.layer_plan import ATTENTION
from mamtra.lm.sequence import KIND_TEXT, SequenceBatch, eos_id
from mamtra.lm.speech_lm import SpeechLM
from mamtra.transfer.measure_layers import LayerSamples
from mamtra.transfer.watch import watch_mixers


def best_path(attention: Tensor) -> Tensor:
    """(N, S, L) weights >= 0 -> (N,) largest sum of weights along a monotonic path.

    A path begins at the first text position, ends at the last and stays or moves on by one at each speech
    position (as in Glow-TTS); where the speech is shorter than the text, by as few at a time as get it there.
    A head that looks at one place all the time scores what a path can collect there and no more.
    Raises ValueError where no path exists: less than two speech positions for several text positions.
    """
    n, n_speech, n_text = attention.shape
    if not n_speech or not n_text or (n_speech == 1 and n_text > 1):
        raise ValueError(f"no path through {n_speech} speech and {n_text} text positions")
    farthest = max(1, math.ceil((n_text - 1) / max(n_speech - 1, 1)))
    best = attention.new_full((n, n_text), float("-inf"))
    best[:, 0] = attention[:, 0, 0]
    for t in range(1, n_speech):
        came = best
        for move in range(1, min(farthest, n_text - 1) + 1):
            moved = torch.nn.functional.pad(best[:, :-move], (move, 0), value=float("-inf"))
            came = torch.maximum(came, moved)
        best = came + attention[:, t]
    return best[:, -1]


@torch.no_grad()
def alignment_samples(
    teacher: SpeechLM, batches: Iterable[SequenceBatch]
) -> tuple[LayerSamples, list[int]]:
    """Attention on the best path of each layer's best head, over the speech of each sequence; and these heads.

    The best head of a layer is the one with the highest mean over all sequences.
    Raises ValueError for a teacher with other layers than attention and when there is no sequence.
    """
    others = sorted(set(teacher.plan) - {ATTENTION})
    if others:
        raise ValueError(f"alignment is a score of attention; the teacher has {', '.join(others)}")
    training = teacher.training
    teacher.eval()
    sums: list[Tensor] = []
    counts: list[int] = []
    try:
        for batch in batches:
            batch = batch.to(teacher.device)
            with watch_mixers(teacher) as seen:
                teacher(teacher.embed(batch.ids, batch.kinds), batch.mask)
            layers: list[Any] = list(teacher.backbone.layers)
            queries = (batch.targets >= 0) & (batch.targets < eos_id(teacher.speech_vocab))
            pieces: list[list[Tensor]] = [
                [] for _ in batch.utterances
            ]  # (S, L) of every layer and head
            for i, layer in enumerate(layers):
                for head in range(teacher.sizes.n_heads):
                    weights = layer.mixer.log_attention(seen[i].x, seen[i].context, head).exp()
                    rows = zip(pieces, weights, queries, batch.kinds == KIND_TEXT, strict=True)
                    for found, row, speech, text in rows:
                        found.append(row[speech][:, text])
            paths = [best_path(torch.stack(found)) for found in pieces]
            shape = (len(layers), teacher.sizes.n_heads, len(paths))
            sums.append(torch.stack(paths, dim=1).double().cpu().view(shape))
            counts += queries.sum(dim=1).tolist()
    finally:
        teacher.train(training)
    if not counts:
        raise ValueError("no sequence to measure alignment on")
    whole = torch.cat(sums, dim=2)  # (layers, heads, sequences)
    heads = whole.sum(dim=2).argmax(dim=1)
    chosen = whole[torch.arange(len(heads)), heads]
    return LayerSamples(chosen, torch.tensor(counts)), heads.tolist()
