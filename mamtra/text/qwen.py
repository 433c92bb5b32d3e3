"""CosyVoice 2's text tokenizer: Qwen2's byte-level BPE with 19 more special tokens.

The tokenizer files are those of the folder CosyVoice-BlankEN inside CosyVoice2-0.5B.
"""

from pathlib import Path
from typing import Any

from mamtra.text.normalise import has_markup, normalise, split_text

END_OF_TEXT = "<|endoftext|>"
# In upstream's order, which fixes their ids (tokenizer/tokenizer.py:241-271): 151644 and on.
SPECIAL_TOKENS = (
    *("<|im_start|>", "<|im_end|>", "<|endofprompt|>"),
    *("[breath]", "<strong>", "</strong>", "[noise]", "[laughter]", "[cough]", "[clucking]"),
    *("[accent]", "[quick_breath]", "<laughter>", "</laughter>", "[hissing]", "[sigh]"),
    *("[vocalized-noise]", "[lipsmack]", "[mn]"),
)
FOLDER = "CosyVoice-BlankEN"
END_OF_TEXT_ID, N_TOKENS = 151_643, 151_663


class QwenTokenizer:
    """Text to Qwen2 token ids. `vocab_size` is the number of rows of the model's text embedding."""

    vocab_size = 151_936
    length_ratios = (2.0, 20.0)  # CosyVoice 2, llm/llm.py:497-498

    def __init__(self, folder: str | Path) -> None:
        """`folder`: CosyVoice2-0.5B, or its CosyVoice-BlankEN.

        Raises FileNotFoundError naming the missing file and ValueError for another tokenizer.
        """
        folder = Path(folder)
        home = folder / FOLDER if (folder / FOLDER).is_dir() else folder
        if not ((home / "tokenizer.json").is_file() or (home / "vocab.json").is_file()):
            raise FileNotFoundError(
                f"{home} has neither tokenizer.json nor vocab.json and merges.txt: it should be the "
                f"folder {FOLDER} of CosyVoice2-0.5B"
            )
        from transformers import AutoTokenizer  # only this tokenizer needs it, and it loads slowly

        self._tokenizer: Any = AutoTokenizer.from_pretrained(str(home))
        self._tokenizer.add_special_tokens(
            {
                "eos_token": END_OF_TEXT,
                "pad_token": END_OF_TEXT,
                "additional_special_tokens": list(SPECIAL_TOKENS),
            }
        )
        ids = self._tokenizer.convert_tokens_to_ids([END_OF_TEXT, *SPECIAL_TOKENS])
        expected = list(range(END_OF_TEXT_ID, N_TOKENS))
        if ids != expected:
            wrong = next(i for i, (a, b) in enumerate(zip(ids, expected, strict=True)) if a != b)
            name = (END_OF_TEXT, *SPECIAL_TOKENS)[wrong]
            raise ValueError(
                f"{home}: {name} has id {ids[wrong]}, in CosyVoice 2 it is {expected[wrong]}; "
                "this is another tokenizer"
            )

    @property
    def library(self) -> Any:
        """transformers' tokenizer behind this one."""
        return self._tokenizer

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as it stands. Raises ValueError for a text without tokens."""
        ids = self._tokenizer([text])["input_ids"][0]
        if not ids:
            raise ValueError(f"the text {text!r} has no tokens")
        return list(ids)

    def pieces(self, text: str) -> list[str]:
        """The normalised text, split where CosyVoice 2 splits it; one with markup is one piece, unchanged.

        Raises ValueError for a text of which nothing is left to speak.
        """
        if has_markup(text):
            return [text]
        found = split_text(normalise(text), lambda part: len(self.encode(part)) if part else 0)
        if not found:
            raise ValueError(f"the text {text!r} has nothing to speak")
        return found

    def whole(self, text: str) -> str:
        """The normalised text, not split."""
        return normalise(text)

    def decode(self, ids: list[int]) -> str:
        """Text of `ids`, special tokens left out."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)
