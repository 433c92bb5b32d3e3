"""CosyVoice 2's LM sequence: [sos, text, task, speech] -> targets [-1]*(1+L) + speech + [eos].

Targets are not shifted: target[i] is what position i predicts (CosyVoice llm.py:302-349,
unistream). B batch, T time, L text length, S speech length, V speech codes.
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

Ids = Sequence[int] | Tensor
Sequence1D = tuple[Tensor, Tensor, Tensor]


def eos_id(speech_vocab: int) -> int:
    """Id of the end-of-speech token for `speech_vocab` codes."""
    return speech_vocab


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


@dataclass
class SequenceBatch:
    """Right-padded training sequences."""

    ids: Tensor  # (B, T) int64
    kinds: Tensor  # (B, T) int8
    targets: Tensor  # (B, T) int64, IGNORE where nothing is predicted
    mask: Tensor  # (B, T) bool, True at real positions
    utterances: tuple[str, ...]

    @property
    def n_tokens(self) -> int:
        """Real (not padded) positions."""
        return int(self.mask.sum())

    def to(self, device: torch.device | str) -> "SequenceBatch":
        """The same batch on another device."""
        return SequenceBatch(
            self.ids.to(device),
            self.kinds.to(device),
            self.targets.to(device),
            self.mask.to(device),
            self.utterances,
        )


def collate(sequences: Sequence[Sequence1D], utterances: Sequence[str]) -> SequenceBatch:
    """Right-pad sequences into one batch. ValueError when the counts differ or are zero."""
    if not sequences or len(sequences) != len(utterances):
        raise ValueError(f"{len(sequences)} sequences for {len(utterances)} utterance ids")

    def pad(column: int, value: int) -> Tensor:
        rows = [sequence[column] for sequence in sequences]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)

    kinds = pad(1, KIND_PAD)
    return SequenceBatch(pad(0, 0), kinds, pad(2, IGNORE), kinds >= 0, tuple(utterances))
