"""Codecs and vocoders that start from given weights."""

import pytest
import torch
from safetensors.torch import load_file

from data.codec_batches import CropBatches, RecordingBatches
from lightning_modules import fit_codec as runs
from mamtra.speech import load_codec
from mamtra.speech.mini_codec import read_text_name
from tests.lightning_modules.small_codec import (
    NETWORK,
    VOCODER,
    fit,
    synthetic_corpus,
    with_phones,
)


def test_training_starts_from_given_weights(tmp_path):
    first = fit(tmp_path, steps=2, run=tmp_path / "first")
    again = fit(tmp_path, steps=1, run=tmp_path / "again", lr=0.0, init=str(first))
    before, after = load_file(first), load_file(again)
    assert all(torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(FileNotFoundError, match=r"training\.init"):
        fit(tmp_path, steps=1, run=tmp_path / "none", init=str(tmp_path / "absent"))


def test_a_larger_codebook_starts_from_the_rest_of_a_codec(tmp_path, capsys):
    first = fit(tmp_path, steps=2, run=tmp_path / "first")
    options = {"run": tmp_path / "more", "lr": 0.0, "init": str(first)}
    more = fit(tmp_path, steps=1, network=NETWORK | {"levels": [7, 5, 5, 5, 5]}, **options)
    before, after = load_file(first), load_file(more)
    kept = [name for name in before if torch.equal(before[name], after[name])]
    assert sorted(before.keys() - kept) == sorted(runs.OF_THE_CODEBOOK)
    assert f"weights from {first}, but for tokenizer.to_code.weight" in capsys.readouterr().out
    options["run"] = tmp_path / "wider"
    with pytest.raises(ValueError, match=r"only codec\.network\.levels may differ"):
        fit(tmp_path, steps=1, network=NETWORK | {"width": 24}, **options)


def test_a_vocoder_goes_on_from_an_exported_codec_and_names_its_text(tmp_path):
    settings = {
        "train": CropBatches(synthetic_corpus(), "train", rows=2, frames=16),
        "network": NETWORK,
        "vocoder": VOCODER,
        "codec_weights": fit(tmp_path, steps=2),
        "steps": 1,
        "adversarial_from": 4,
        "precision": "32-true",
        "accelerator": "cpu",
        "provenance": {},
    }
    runs.fit_vocoder(run=tmp_path / "first", lr=1e-3, **settings)
    exported = tmp_path / "first" / "codec"
    assert read_text_name(exported) == "characters"
    options = {"init": str(exported / "codec.safetensors"), "text": "phonemes"}
    runs.fit_vocoder(run=tmp_path / "second", lr=0.0, **settings, **options)
    before = load_codec(exported).vocoder.state_dict()
    after = load_codec(tmp_path / "second" / "codec").vocoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert read_text_name(tmp_path / "second" / "codec") == "phonemes"
    settings["steps"] = 0
    runs.fit_vocoder(run=tmp_path / "third", lr=1e-3, **settings, **options)
    as_it_was = load_codec(tmp_path / "third" / "codec").vocoder.state_dict()
    assert all(torch.equal(before[name], as_it_was[name]) for name in before)
    with pytest.raises(ValueError, match=r"training\.steps=0 needs training\.init"):
        runs.fit_vocoder(run=tmp_path / "fourth", lr=1e-3, **settings)


def test_a_frozen_tokenizer_keeps_its_tokens_while_the_decoder_learns(tmp_path):
    first = fit(tmp_path, steps=2, run=tmp_path / "first")
    options = {"init": str(first), "freeze_tokenizer": True, "adversarial_from": 2}
    after = load_file(fit(tmp_path, steps=4, run=tmp_path / "second", **options))
    before = load_file(first)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}
    with pytest.raises(ValueError, match=r"freeze_tokenizer needs training\.init"):
        fit(tmp_path, steps=1, run=tmp_path / "none", freeze_tokenizer=True)
    options |= {"network": NETWORK | {"levels": [7, 5, 5, 5, 5]}, "run": tmp_path / "other"}
    with pytest.raises(ValueError, match="has another codebook"):
        fit(tmp_path, steps=1, **options)


def test_a_run_goes_on_with_the_recogniser_of_phonemes_that_it_starts_from(tmp_path, capsys):
    options = {
        "train": RecordingBatches(with_phones(synthetic_corpus()), "train", 2.0),
        "valid": [],
    }
    options |= {"phone_weight": 1.0, "n_phones": 2}
    first = fit(tmp_path, 2, run=tmp_path / "first", **options)
    options["init"] = str(first)
    again = fit(tmp_path, 1, run=tmp_path / "again", **options, lr=0.0)
    before, after = (load_file(path.with_name(runs.PHONE_RECOGNISER)) for path in (first, again))
    assert all(torch.equal(before[name], after[name]) for name in before)
    fit(tmp_path, 1, run=tmp_path / "more", **options | {"n_phones": 3})
    assert "recogniser of phonemes: new" in capsys.readouterr().out
