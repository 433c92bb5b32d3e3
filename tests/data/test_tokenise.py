"""Recordings to the token table, with a tiny untrained codec."""

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch
from safetensors.torch import save_file

from data.tokenise import tokenise
from data.tokens import read_token_table
from mamtra.speech.codec import CodecNetwork
from mamtra.speech.mini_codec import MiniCodec, load_codec, save_codec
from mamtra.speech.recogniser import Recogniser
from mamtra.speech.vocoder import Vocoder
from mamtra.text.characters import CharacterTokenizer

SIZES = {
    "network": {"width": 16, "fine_width": 8, "levels": [8, 5, 5, 5]},
    "vocoder": {"width": 8, "n_blocks": 1},
}


@pytest.fixture
def corpus(tmp_path):
    """Three recordings of noise, and a codec with its recogniser."""
    torch.manual_seed(0)
    codec = MiniCodec(CodecNetwork(**SIZES["network"]), Vocoder(**SIZES["vocoder"]))
    save_codec(tmp_path / "codec", codec, SIZES, {})
    recogniser = Recogniser(4, CharacterTokenizer().vocab_size)
    save_file(recogniser.state_dict(), tmp_path / "recogniser.safetensors")
    rng, rows = np.random.default_rng(0), []
    for i, seconds in enumerate((0.5, 0.81, 1.0)):
        name = f"u{i}"
        sf.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(int(16_000 * seconds)), 16_000)
        split = "valid" if i == 0 else "train"
        rows.append((name, f"{name}.wav", split, "one two", "v", seconds))
    columns = ["utterance", "wav", "split", "text", "voice", "duration_s"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path


def run(corpus):
    recogniser, out = corpus / "recogniser.safetensors", corpus / "tokens.parquet"
    return tokenise(corpus, corpus / "codec", recogniser, out, workers=1)


def test_every_recording_becomes_a_row_that_the_reader_takes(corpus):
    run(corpus)
    table = read_token_table(corpus / "tokens.parquet", "train", CharacterTokenizer(), 1000)
    assert table.utterances == ("u1", "u2")
    assert [len(ids) for ids in table.speech_ids] == [21, 25]
    wave, _ = sf.read(corpus / "u2.wav", dtype="float32")
    expected = load_codec(corpus / "codec").encode(torch.from_numpy(wave))
    assert torch.equal(table.speech_ids[1], expected)
    assert table.alignments is not None
    assert all((spoken.diff() >= 0).all() for spoken in table.alignments)


def test_a_text_too_long_for_its_recording_names_it(corpus):
    frame = pd.read_csv(corpus / "manifest.csv")
    frame.loc[1, "text"] = "far too many words for less than a second of speech to hold"
    frame.to_csv(corpus / "manifest.csv", index=False)
    with pytest.raises(ValueError, match=r"u1\.wav: \d+ characters do not fit 42 CTC frames"):
        run(corpus)
    assert not (corpus / "tokens.parquet").exists()


def test_a_missing_recogniser_stops_at_once(corpus):
    (corpus / "recogniser.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"recogniser\.safetensors"):
        run(corpus)
