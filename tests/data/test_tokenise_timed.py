"""Recordings with phoneme times to the token table, with a tiny untrained codec."""

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch

from data import tokenise_timed
from data.tokenise_timed import tokenise
from data.tokens import read_token_table
from mamtra.speech.codec import CodecNetwork
from mamtra.speech.mini_codec import MiniCodec, save_codec
from mamtra.speech.vocoder import Vocoder
from mamtra.systems import system_of
from mamtra.text.characters import CharacterTokenizer
from tests.data.in_this_process import in_this_process

SIZES = {
    "network": {"width": 16, "fine_width": 8, "levels": [8, 5, 5, 5]},
    "vocoder": {"width": 8, "n_blocks": 1},
}
TEXT, PHONEMES = "a cat.", list("^ɐ kˈæt.$")


def save(folder, text="phonemes"):
    torch.manual_seed(0)
    codec = MiniCodec(CodecNetwork(**SIZES["network"]), Vocoder(**SIZES["vocoder"]))
    save_codec(folder / "codec", codec, SIZES, {}, text)


def write(folder, names):
    """A corpus of these recordings: half a second each, every phoneme 50 ms."""
    rng = np.random.default_rng(0)
    rows = []
    for name in names:
        sf.write(folder / f"{name}.wav", 0.1 * rng.standard_normal(8000), 16_000)
        rows.append((name, f"{name}.wav", "train", TEXT, "v", 0.5))
    columns = ["utterance", "wav", "split", "text", "voice", "duration_s"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "manifest.csv", index=False)
    ends = np.arange(1, len(PHONEMES) + 1) * 800
    timed = [(name, PHONEMES, ends) for name in names]
    table = pd.DataFrame(timed, columns=["utterance", "phonemes", "ends"])
    table.to_parquet(folder / "phonemes.parquet")


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenise_timed, "worker_processes", in_this_process)
    save(tmp_path)
    write(tmp_path, ["u0", "u1"])
    return tmp_path


def run(corpus, **options):
    out = corpus / "tokens.parquet"
    return tokenise(corpus, corpus / "codec", out, workers=1, **options)


def spoken(corpus, tokenizer):
    table = read_token_table(corpus / "tokens.parquet", "train", tokenizer, 1000)
    assert table.alignments is not None and len(table.speech_ids[0]) == 13
    return table.alignments[0].tolist()


def test_each_token_names_the_phoneme_at_its_middle(corpus):
    run(corpus)
    tokenizer = system_of(corpus / "codec").load_text(corpus / "codec")
    # Tokens of 40 ms, phonemes of 50 ms: silence and "a" to 100 ms, then a boundary, k, æ (with its
    # stress mark 100 ms), t and silence.
    assert spoken(corpus, tokenizer) == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 5, 5, 5]


def test_letters_instead_of_phonemes(corpus):
    run(corpus, text="letters")
    assert spoken(corpus, CharacterTokenizer()) == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 5, 5, 5]


def test_a_grown_corpus_is_continued(corpus, capsys):
    first = run(corpus)
    (corpus / "u0.wav").unlink()  # it is not read again
    audio, _ = sf.read(corpus / "u1.wav")
    write(corpus, ["u1", "u2"])
    sf.write(corpus / "u1.wav", audio, 16_000)
    grown = run(corpus)
    assert list(grown["utterance"]) == ["u1", "u2"]
    assert np.array_equal(grown["tokens"][0], first["tokens"][1])
    manifest = pd.read_csv(corpus / "manifest.csv").assign(split="valid")
    manifest.to_csv(corpus / "manifest.csv", index=False)
    assert list(run(corpus)["split"]) == ["valid", "valid"]


def test_parts_of_another_codec_are_refused(corpus):
    run(corpus)
    with pytest.raises(ValueError, match="another codec or text"):
        run(corpus, text="letters")


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda c: (c / "phonemes.parquet").unlink(), FileNotFoundError, "open_build"),
        (lambda c: (c / "codec" / "codec.json").unlink(), FileNotFoundError, r"codec\.json"),
    ],
)
def test_what_is_missing_is_named(corpus, damage, error, message):
    damage(corpus)
    with pytest.raises(error, match=message):
        run(corpus)


def test_an_unknown_text_is_refused(corpus):
    with pytest.raises(ValueError, match="phonemes, letters, not 'runes'"):
        run(corpus, text="runes")


def test_a_codec_names_its_text(corpus):
    folder = corpus / "codec"
    assert system_of(folder).load_text(folder).vocab_size == 59
    save(corpus, text="runes")
    with pytest.raises(ValueError, match="'runes'; valid: characters, phonemes"):
        system_of(folder).load_text(folder)
