"""One table of token ids for text and speech, in the order of CosyVoice's own conversion.

    0 ..                  ids of the text tokenizer
    then, one each        <|s_0|> .. <|s_V-1|>, <|eos1|>, <|eos2|>, <|eos3|>, <|sos|>, <|task_id|>
    then                  rows of the text embedding that the tokenizer has no token for, and zeros up to a
                          multiple of 128

(CosyVoice examples/grpo/cosyvoice2/pretrained_to_huggingface.py.) eos1 is the end of speech, eos2 is unused,
eos3 asks for more text: the three rows behind our V speech codes.

V speech codes, D d_model, N rows of the table.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamtra.lm.sequence import N_EXTRA, N_SPECIAL

ROUND = 128  # tensor cores want aligned heads; upstream pads to it


def speech_names(speech_vocab: int) -> list[str]:
    """Names of the speech rows: codes, then eos1 to eos3."""
    return [
        *(f"<|s_{i}|>" for i in range(speech_vocab)),
        *(f"<|eos{i + 1}|>" for i in range(N_EXTRA)),
    ]


SPECIAL_NAMES = ("<|sos|>", "<|task_id|>")


@dataclass(frozen=True)
class MergedVocabulary:
    """n_text: ids of the text tokenizer; text_rows: rows of the text embedding, at least as many.

    Raises ValueError when the tokenizer has more ids than the embedding has rows.
    """

    n_text: int
    text_rows: int
    speech_vocab: int

    def __post_init__(self) -> None:
        if not 0 < self.n_text <= self.text_rows:
            raise ValueError(
                f"the text tokenizer has {self.n_text} ids, the model's text embedding {self.text_rows} rows"
            )

    @property
    def speech(self) -> slice:
        """The V + 3 speech ids."""
        return slice(self.n_text, self.n_text + self.speech_vocab + N_EXTRA)

    @property
    def special(self) -> slice:
        """sos and task."""
        return slice(self.speech.stop, self.speech.stop + N_SPECIAL)

    @property
    def rest(self) -> slice:
        """Rows of the text embedding without a token."""
        return slice(self.special.stop, self.special.stop + self.text_rows - self.n_text)

    @property
    def size(self) -> int:
        """N."""
        return -(-self.rest.stop // ROUND) * ROUND

    def merge(self, text: Tensor, special: Tensor, speech: Tensor) -> Tensor:
        """Our three embeddings -> (N, D)."""
        table = text.new_zeros(self.size, text.shape[1])
        table[: self.n_text], table[self.rest] = text[: self.n_text], text[self.n_text :]
        table[self.special], table[self.speech] = special, speech
        return table

    def split(self, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> text, special and speech embedding, as `merge` takes them."""
        text = torch.cat((table[: self.n_text], table[self.rest]))
        return text, table[self.special], table[self.speech]

    def silent(self) -> list[int]:
        """Ids that no speech model may draw: all but those of speech."""
        return [*range(self.speech.start), *range(self.speech.stop, self.size)]
