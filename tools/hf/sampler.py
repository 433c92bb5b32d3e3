"""CosyVoice 2's sampling and a loop stop, for runtimes that have neither. numpy only.

Without them speech models repeat a sound until the length limit. `draw` is VALL-E 2's repetition-aware sampling
with CosyVoice 2's settings (cosyvoice/utils/common.py): one draw from the nucleus; a token that occurred among
the last ones is drawn once more, from all others. Logits are those of the speech tokens, with the head's bias,
and those of eos1 to eos3 at -inf as long as the sentence is too short to end.
"""

import numpy as np


def draw(logits, tokens, uniforms, top_p=0.8, top_k=25, window=10, tau=0.1):
    """Next token: logits (V,), tokens drawn so far, two uniform numbers in [0, 1)."""
    p = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    p /= p.sum()
    best = np.argsort(-p, kind="stable")[:top_k]
    token = pick(p, best[np.cumsum(p[best]) - p[best] < top_p], uniforms[0])
    if window and sum(t == token for t in tokens[-window:]) >= max(window * tau, 1e-9):
        others = np.flatnonzero((p > 0) & (np.arange(len(p)) != token))
        token = pick(p, others, uniforms[1]) if len(others) else token
    return int(token)


def pick(p, ids, uniform):
    """One of `ids` with probability in proportion to p."""
    sums = np.cumsum(p[ids])
    return ids[min(np.searchsorted(sums, uniform * sums[-1], side="right"), len(ids) - 1)]


def looping(tokens, span=50, period=12):
    """Whether the last `span` tokens repeat what stood at most `period` before: stop, try another seed."""
    tail = list(tokens[-span - period :])
    return len(tail) == span + period and any(
        tail[-span:] == tail[-span - p : -p] for p in range(1, period + 1)
    )
