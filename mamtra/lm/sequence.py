"""CosyVoice 2's LM sequence: [sos, text, task, speech] -> targets [-1]*(1+L) + speech + [eos].

Targets are not shifted: target[i] is what position i predicts (CosyVoice llm.py:302-349,
unistream; `build_bistream` has the streaming form). B batch, T time, L text length, S speech length,
V speech codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORE = -1
SOS = 0
TASK = 1
N_SPECIAL = 2

KIND_PAD = -1
KIND_SPECIAL = 0
KIND_TEXT = 1
KIND_SPEECH = 2

# Rows after the V codes in the speech embedding and head: eos = V, unused = V + 1, fill = V + 2.
N_EXTRA = 3

MIX_RATIO = (5, 15)  # text and speech tokens of one bistream block (cosyvoice2.yaml:29)

Ids = Sequence[int] | Tensor
Sequence1D = tuple[Tensor, Tensor, Tensor]


def eos_id(speech_vocab: int) -> int:
    """Id of the end-of-speech token for `speech_vocab` codes."""
    return speech_vocab


def fill_id(speech_vocab: int) -> int:
    """Id of the token that asks for more text in a bistream sequence."""
    return speech_vocab + 2


def _ids(values: Ids) -> Tensor:
    return torch.as_tensor(values, dtype=torch.int64).reshape(-1)


def build_prompt(text_ids: Ids, prompt_speech_ids: Ids) -> tuple[Tensor, Tensor]:
    """[sos, text, task, prompt speech] -> ids (L+S+2,) int64 and kinds (L+S+2,) int8.

    Raises ValueError for an empty text; the prompt speech may be empty.
    """
    text, speech = _ids(text_ids), _ids(prompt_speech_ids)
    if not len(text):
        raise ValueError("the text has no tokens")
    ids = torch.cat((torch.tensor([SOS]), text, torch.tensor([TASK]), speech))
    kinds = torch.full((len(ids),), KIND_SPEECH, dtype=torch.int8)
    kinds[0] = KIND_SPECIAL
    kinds[1 : 1 + len(text)] = KIND_TEXT
    kinds[1 + len(text)] = KIND_SPECIAL
    return ids, kinds


def alignment_targets(text_length: int, alignment: Ids) -> Tensor:
    """Position of the text token that each position's target speaks, IGNORE elsewhere; (L+S+2,) int64.

    alignment: (S,) for each speech token the index of its text token. The end-of-speech target counts
    as the last text token's. Raises ValueError for an index outside the text.
    """
    spoken = _ids(alignment)
    if len(spoken) and not 0 <= int(spoken.min()) <= int(spoken.max()) < text_length:
        raise ValueError(
            f"alignment spans {int(spoken.min())}..{int(spoken.max())} in a text of {text_length}"
        )
    nothing = torch.full((text_length + 1,), IGNORE)
    return torch.cat((nothing, 1 + spoken, torch.tensor([text_length])))


def build_sequence(text_ids: Ids, speech_ids: Ids, speech_vocab: int) -> Sequence1D:
    """Training sequence: ids, kinds, targets, each (L+S+2,).

    Raises ValueError for an empty text, empty speech, or a speech id outside 0..speech_vocab-1.
    """
    speech = _ids(speech_ids)
    if not len(speech):
        raise ValueError("the speech has no tokens")
    if int(speech.min()) < 0 or int(speech.max()) >= speech_vocab:
        raise ValueError(
            f"speech ids span {int(speech.min())}..{int(speech.max())}, "
            f"outside 0..{speech_vocab - 1}"
        )
    ids, kinds = build_prompt(text_ids, speech)
    targets = torch.full_like(ids, IGNORE)
    start = len(ids) - len(speech) - 1  # the task position predicts the first speech token
    targets[start:-1] = speech
    targets[-1] = eos_id(speech_vocab)
    return ids, kinds, targets


def build_bistream(
    text_ids: Ids, speech_ids: Ids, speech_vocab: int, mix: tuple[int, int] = MIX_RATIO
) -> Sequence1D:
    """Training sequence for streaming text: blocks of `mix` = (text, speech) tokens, then the rest.

    Input: [sos, (text * 5, speech * 15) for each full block, rest of the text, task, rest of the
    speech]. A block's last speech token predicts the fill token, which asks for more text; the rest
    ends with eos, and is there even when no text is left for it (CosyVoice llm.py:310-336).
    Returns ids, kinds, targets, each (L+S+2,).

    Raises ValueError as `build_sequence`, and unless the speech outlasts every text block, which is
    CosyVoice's condition S / L > 15 / 5.
    """
    text, speech = _ids(text_ids), _ids(speech_ids)
    n_text, n_speech = mix
    if len(speech) * n_text <= len(text) * n_speech:
        raise ValueError(
            f"{len(speech)} speech tokens for {len(text)} text tokens: a bistream sequence needs more "
            f"than {n_speech} per {n_text}"
        )
    blocks = len(text) // n_text
    whole, _, _ = build_sequence(text, speech, speech_vocab)  # for its checks
    cut_text, cut_speech = blocks * n_text, blocks * n_speech
    fill = torch.full((blocks, 1), fill_id(speech_vocab))
    nothing = torch.full((blocks, n_text - 1), IGNORE)
    spoken = speech[:cut_speech].view(blocks, n_speech)
    block_ids = torch.cat((text[:cut_text].view(blocks, n_text), spoken), dim=1)
    block_kinds = torch.tensor([KIND_TEXT] * n_text + [KIND_SPEECH] * n_speech).repeat(blocks, 1)
    block_targets = torch.cat((nothing, spoken, fill), dim=1)
    rest_text, rest_speech = text[cut_text:], speech[cut_speech:]
    start, task = torch.tensor([SOS]), torch.tensor([TASK])
    ids = torch.cat((start, block_ids.flatten(), rest_text, task, rest_speech))
    kinds = torch.cat(
        (
            torch.tensor([KIND_SPECIAL]),
            block_kinds.flatten(),
            torch.full_like(rest_text, KIND_TEXT),
            torch.tensor([KIND_SPECIAL]),
            torch.full_like(rest_speech, KIND_SPEECH),
        )
    ).to(torch.int8)
    targets = torch.cat(
        (
            torch.tensor([IGNORE]),
            block_targets.flatten(),
            torch.full_like(rest_text, IGNORE),
            rest_speech,
            torch.tensor([eos_id(speech_vocab)]),
        )
    )
    assert len(ids) == len(kinds) == len(targets) == len(whole)
    return ids, kinds, targets


@dataclass
class SequenceBatch:
    """Right-padded training sequences."""

    ids: Tensor  # (B, T) int64
    kinds: Tensor  # (B, T) int8
    targets: Tensor  # (B, T) int64, IGNORE where nothing is predicted
    mask: Tensor  # (B, T) bool, True at real positions
    utterances: tuple[str, ...]
    # (B, T) int64, `alignment_targets` of each row; None when the corpus has no alignment
    aligned: Tensor | None = None
    # (B,) int64, speech tokens of each row that come before its last utterance; None when nobody said
    n_prompt: Tensor | None = None

    @property
    def n_tokens(self) -> int:
        """Real (not padded) positions."""
        return int(self.mask.sum())

    @property
    def n_padded(self) -> int:
        """Positions with padding: what memory grows with."""
        return self.ids.numel()

    @property
    def generated(self) -> Tensor:
        """(B, T) bool: speech that a model would have made itself, which window layers let go of.

        Everything else is conditioning: text, special tokens and the prompt's speech. A training sequence of
        two utterances is a prompt and what follows it, so the first one's speech is conditioning (for its own
        tokens, too); all speech of a single utterance counts as generated.
        """
        speech = self.kinds == KIND_SPEECH
        if self.n_prompt is None:
            return speech
        return speech & (speech.cumsum(dim=1) > self.n_prompt[:, None])

    def to(self, device: torch.device | str) -> "SequenceBatch":
        """The same batch on another device."""
        return SequenceBatch(
            self.ids.to(device),
            self.kinds.to(device),
            self.targets.to(device),
            self.mask.to(device),
            self.utterances,
            None if self.aligned is None else self.aligned.to(device),
            None if self.n_prompt is None else self.n_prompt.to(device),
        )


def collate(
    sequences: Sequence[Sequence1D],
    utterances: Sequence[str],
    aligned: Sequence[Tensor] | None = None,
    n_prompt: Sequence[int] | None = None,
) -> SequenceBatch:
    """Right-pad sequences into one batch. `n_prompt`: speech tokens of each row that are the prompt's.

    ValueError when the counts differ or are zero.
    """
    if not sequences or len(sequences) != len(utterances):
        raise ValueError(f"{len(sequences)} sequences for {len(utterances)} utterance ids")

    def pad(rows: Sequence[Tensor], value: int) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)

    ids, kinds, targets = zip(*sequences, strict=True)
    kinds = pad(kinds, KIND_PAD)
    return SequenceBatch(
        pad(ids, 0),
        kinds,
        pad(targets, IGNORE),
        kinds >= 0,
        tuple(utterances),
        None if aligned is None else pad(aligned, IGNORE),
        None if n_prompt is None else torch.tensor(n_prompt),
    )
