"""tokenizer.json against our frontends."""

import pytest

from mamtra.text.characters import CharacterTokenizer
from mamtra.text.phonemes import PhonemeTokenizer
from tools.hf.tokenizer import reads, text_ids, write_tokenizer

TEXTS = ("Hello  world", "we met at noon.", " a, b?\n", "don't go!", "x")


def loaded(frontend, folder, codes):
    transformers = pytest.importorskip("transformers")
    write_tokenizer(frontend, folder, codes)
    return transformers.AutoTokenizer.from_pretrained(folder)


def test_characters(tmp_path):
    frontend = CharacterTokenizer()
    tokenizer = loaded(frontend, tmp_path, 30)
    assert text_ids(frontend) == frontend.vocab_size and len(tokenizer) == 32 + 30 + 3 + 2
    for text in TEXTS:
        assert tokenizer(text).input_ids == frontend.encode(text)
    assert tokenizer.decode(frontend.encode("we met")) == "we met."
    mixed = tokenizer("<|sos|>A b<|task_id|><|s_0|><|s_29|><|eos1|>").input_ids
    assert mixed == [65, *frontend.encode("A b"), 66, 32, 61, 62]
    with pytest.raises(Exception, match=r"Missing \[UNK\]"):
        tokenizer("où")


def test_phonemes(tmp_path):
    frontend = PhonemeTokenizer()
    tokenizer = loaded(frontend, tmp_path, None)
    ids = frontend.encode("Hello world, we met.")
    assert tokenizer(frontend.decode(ids)).input_ids == ids
    assert len(tokenizer) == frontend.vocab_size and "ARPAbet" in reads(frontend)


def test_a_frontend_that_is_not_known_is_named():
    pytest.importorskip("transformers")

    class Runes:
        pass

    with pytest.raises(ValueError, match="Runes"):
        text_ids(Runes())  # type: ignore[arg-type]
