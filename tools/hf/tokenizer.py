"""A text frontend of ours as `tokenizer.json`, with or without the speech tokens."""

import re
from pathlib import Path
from typing import Any

from mamtra.systems import TextFrontend
from mamtra.text.characters import ALPHABET, FINAL_PUNCTUATION, CharacterTokenizer
from mamtra.text.phonemes import BOUNDARY, SYMBOLS, PhonemeTokenizer
from mamtra.text.qwen import END_OF_TEXT, QwenTokenizer
from tools.hf.vocabulary import SPECIAL_NAMES, speech_names

WORD_BOUNDARY = "|"  # for BOUNDARY, as `PhonemeTokenizer.decode` writes it
# What the tokenizer of a folder reads, for its card.
READS = {
    CharacterTokenizer: "English letters; it writes them small and ends the sentence, as our frontend does",
    PhonemeTokenizer: "ARPAbet symbols with spaces between them and | between words, what "
    "`mamtra.text.phonemes.PhonemeTokenizer` makes of a text; pronunciation is not in the tokenizer",
    QwenTokenizer: "text that is normalised and cut already, as `mamtra.text.normalise` does",
}


def text_ids(frontend: TextFrontend) -> int:
    """Ids that the frontend's tokenizer has; the model's text embedding may have more rows."""
    return len(_library_tokenizer(frontend))


def write_tokenizer(frontend: TextFrontend, folder: Path, speech_vocab: int | None) -> None:
    """tokenizer.json and tokenizer_config.json into `folder`.

    speech_vocab: codes whose tokens follow those of the text (`tools.hf.vocabulary`), None for text alone.
    Raises ValueError for a frontend that no tokenizer is known for.
    """
    tokenizer = _library_tokenizer(frontend)
    if speech_vocab is not None:
        from tokenizers import AddedToken

        names = [*speech_names(speech_vocab), *SPECIAL_NAMES]
        tokenizer.add_tokens([AddedToken(name, normalized=False) for name in names])
        tokenizer.eos_token, tokenizer.pad_token = "<|eos1|>", "<|eos2|>"
    tokenizer.save_pretrained(str(folder))


def reads(frontend: TextFrontend) -> str:
    """What its tokenizer takes."""
    return READS[type(frontend)]


def _library_tokenizer(frontend: TextFrontend) -> Any:
    from transformers import PreTrainedTokenizerFast

    if isinstance(frontend, QwenTokenizer):
        # As it stands, without the class that would build it from other files.
        return PreTrainedTokenizerFast(
            tokenizer_object=frontend.library.backend_tokenizer, eos_token=END_OF_TEXT
        )
    if isinstance(frontend, CharacterTokenizer):
        return PreTrainedTokenizerFast(tokenizer_object=_characters())
    if isinstance(frontend, PhonemeTokenizer):
        return PreTrainedTokenizerFast(tokenizer_object=_phonemes())
    raise ValueError(f"no tokenizer.json is known for the frontend {type(frontend).__name__}")


def _characters() -> Any:
    """`CharacterTokenizer` in the library's terms; a character outside the alphabet is an error."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    made = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(ALPHABET)}))
    made.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.Replace(Regex(rf"(?<![{re.escape(FINAL_PUNCTUATION)}])\z"), "."),
        ]
    )
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    made.decoder = decoders.Fuse()
    return made


def _phonemes() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = [WORD_BOUNDARY if symbol == BOUNDARY else symbol for symbol in SYMBOLS]
    made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made
