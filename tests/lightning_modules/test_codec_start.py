"""Codecs and vocoders that start from given weights."""

import pytest
import torch
from safetensors.torch import load_file

from lightning_modules.codec_start import (
    OF_THE_CODEBOOK,
    PHONE_RECOGNISER,
    read_part,
    start_from,
    take_phone_recogniser,
)
from mamtra.speech import load_codec
from mamtra.speech.codec import CodecNetwork
from mamtra.speech.mini_codec import read_text_name
from mamtra.speech.recogniser import PhoneRecogniser
from tests.lightning_modules.small_codec import NETWORK, fit_codec, synthetic_corpus, with_phones


def test_training_starts_from_given_weights(tmp_path):
    first = fit_codec(tmp_path / "first", 2)
    network = CodecNetwork(**NETWORK)
    assert start_from(network, read_part(first, "network."), str(first)) == []
    before, after = load_file(first), network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(FileNotFoundError, match=r"training\.init"):
        read_part(tmp_path / "absent", "network.")


def test_a_larger_codebook_starts_from_the_rest_of_a_codec(tmp_path):
    first = fit_codec(tmp_path / "first", 1)
    more = CodecNetwork(**NETWORK | {"levels": [7, 5, 5, 5, 5]})
    assert sorted(start_from(more, read_part(first, "network."), "f")) == sorted(OF_THE_CODEBOOK)
    before, after = load_file(first), more.state_dict()
    kept = [
        n for n in before if before[n].shape == after[n].shape and torch.equal(before[n], after[n])
    ]
    assert sorted(before.keys() - kept) == sorted(OF_THE_CODEBOOK)
    wider = CodecNetwork(**NETWORK | {"width": 24})
    with pytest.raises(ValueError, match=r"training\.init=f: .*only codec\.network\.levels"):
        start_from(wider, read_part(first, "network."), "f")


def test_a_vocoder_goes_on_from_an_exported_codec_and_names_its_text(command, tmp_path):
    command("experiment=mini_codec", "steps=1", "batch.batch_s=2")
    vocoder = (
        "experiment=mini_vocoder",
        "batch.frames=16",
        "batch.rows=2",
        "training.text=phonemes",
    )
    command(*vocoder, "steps=1", "run=first", "training.text=characters")
    exported = tmp_path / "first" / "codec"
    assert read_text_name(exported) == "characters"
    init = f"training.init={exported / 'codec.safetensors'}"
    for name, how in (("second", ("steps=1", "training.lr=0.0")), ("third", ("steps=0",))):
        command(*vocoder, *how, f"run={name}", init)
        before = load_codec(exported).vocoder.state_dict()
        after = load_codec(tmp_path / name / "codec").vocoder.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before), name
        assert read_text_name(tmp_path / name / "codec") == "phonemes"
    with pytest.raises(SystemExit, match=r"steps=0 needs training\.init"):
        command(*vocoder, "steps=0", "run=fourth")


def test_a_frozen_tokenizer_keeps_its_tokens_while_the_decoder_learns(command, tmp_path):
    codec = ("experiment=mini_codec", "batch.batch_s=2", "training.adversarial_from=2")
    command(*codec, "steps=2", "run=first")
    first = tmp_path / "first" / "network.safetensors"
    frozen = (*codec, "training.freeze_tokenizer=true")
    command(*frozen, "steps=4", "run=second", f"training.init={first}")
    before, after = load_file(first), load_file(tmp_path / "second" / "network.safetensors")
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}
    with pytest.raises(SystemExit, match=r"freeze_tokenizer needs training\.init"):
        command(*frozen, "steps=1", "run=none")
    other = ("codec.network.levels=[7,5,5,5,5]", f"training.init={first}")
    with pytest.raises(SystemExit, match="has another codebook"):
        command(*frozen, *other, "steps=1", "run=other")


def test_a_run_goes_on_with_the_recogniser_of_phonemes_that_it_starts_from(tmp_path, capsys):
    made, heard = with_phones(synthetic_corpus()), {"phone_weight": 1.0, "n_phones": 2}
    first = fit_codec(tmp_path / "first", 2, corpus=made, **heard)
    beside, codes = first.with_name(PHONE_RECOGNISER), len(NETWORK["levels"])
    again = PhoneRecogniser(codes, 2)
    take_phone_recogniser(again, beside)
    before = load_file(beside)
    assert all(torch.equal(before[name], t) for name, t in again.state_dict().items())
    take_phone_recogniser(PhoneRecogniser(codes, 3), beside)
    assert "recogniser of phonemes: new" in capsys.readouterr().out
