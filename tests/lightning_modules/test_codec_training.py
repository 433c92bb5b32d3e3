"""Codec and vocoder training on a synthetic in-memory corpus."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from data.codec_batches import CropBatches, RecordingBatches
from data.codec_features import CodecCorpus
from lightning_modules.codec import CodecModule
from mamtra.speech import load_codec
from mamtra.speech.codec import CodecNetwork
from mamtra.speech.features import HOP, log_mel
from mamtra.text.characters import CharacterTokenizer
from tests.lightning_modules.small_codec import (
    NETWORK,
    fit_codec,
    fit_vocoder,
    synthetic_corpus,
    with_phones,
)


@pytest.fixture
def corpus() -> CodecCorpus:
    return synthetic_corpus()


def test_an_epoch_has_every_recording_once_and_a_resumed_stream_continues(corpus):
    batches = RecordingBatches(corpus, "train", batch_s=1.5, seed=3)
    rows = [row for batch, _ in batches.epoch(0) for row in batch]
    assert sorted(rows) == list(range(10))
    stream = iter(batches)
    ahead = [next(stream) for _ in range(9)]
    resumed = iter(RecordingBatches(corpus, "train", batch_s=1.5, seed=3, start_step=8))
    assert torch.equal(next(resumed).mel, ahead[8].mel)


def test_batches_keep_the_budget_and_mask_padding(corpus):
    for rows, draws in RecordingBatches(corpus, "train", batch_s=1.5).epoch(1):
        batch = RecordingBatches(corpus, "train", batch_s=1.5).batch(rows, draws)
        assert batch.mel.shape[0] * batch.mel.shape[1] <= 150
        lengths = corpus.rows("train").iloc[rows]["n_frames"].tolist()
        assert batch.mask.sum(1).tolist() == lengths
        assert batch.text_lengths.tolist() == [len(CharacterTokenizer().encode("oh"))] * len(rows)


def test_crops_pair_frames_with_their_samples(corpus):
    batch = CropBatches(corpus, "train", rows=4, frames=16).batch(5)
    assert batch.mel.shape == (4, 16, 80) and batch.wave is not None
    assert batch.wave.shape == (4, 16 * HOP)
    inner = (log_mel(batch.wave)[:, 4:12] + 5.5) / 2.4
    torch.testing.assert_close(inner, batch.mel[:, 4:12], atol=0.05, rtol=0)


def test_phoneme_times_teach_the_codes(tmp_path):
    made = with_phones(synthetic_corpus())
    taught = {"ctc_weight": 0.0, "phone_weight": 1.0, "n_phones": 2, "adversarial_from": 1000}
    fit_codec(tmp_path, 60, corpus=made, **taught)
    log = pd.read_csv(tmp_path / "metrics.csv")
    assert "ctc" not in log
    assert log["phone"].dropna().iloc[-1] < 0.5  # chance is 0.69
    assert log["val_phone_error"].dropna().iloc[-1] < 0.5


def test_a_phone_loss_needs_phoneme_times(tmp_path):
    made = with_phones(synthetic_corpus(), known=False)
    with pytest.raises(ValueError, match=r"no phonemes\.parquet"):
        fit_codec(tmp_path, 2, corpus=made, phone_weight=1.0, n_phones=3)


def test_a_vocoder_is_validated_on_crops_that_it_does_not_train_on(corpus, tmp_path):
    fit_vocoder(tmp_path, 4, trainer={"val_every": 2})
    log = pd.read_csv(tmp_path / "metrics.csv")
    assert list(log.loc[log["val_loss"].notna(), "step"]) == [2, 4]
    assert log["adversarial"].notna().sum() == 1  # from step 3 on
    with pytest.raises(
        ValueError, match=r"'valid' has batch\.frames=90 frames; the longest of 2 has"
    ):
        CropBatches(corpus, "valid", rows=2, frames=90)


def test_the_two_commands_in_either_order_make_a_codec(command, tmp_path, capsys):
    vocoder = ("experiment=mini_vocoder", "steps=2", "batch.frames=16", "batch.rows=2")
    command(*vocoder)
    assert "train the codec, then run this again" in capsys.readouterr().out
    assert not (tmp_path / "runs/mini_vocoder/codec").exists()
    command("experiment=mini_codec", "steps=2", "batch.batch_s=2")
    assert (tmp_path / "runs/mini_codec/recogniser.safetensors").exists()
    command(*vocoder)
    assert "nothing to do" in capsys.readouterr().out
    codec = load_codec(tmp_path / "runs/mini_vocoder/codec")
    made = synthetic_corpus()
    wave = torch.from_numpy(made.audio[:6400].astype(np.float32) / 32767)
    voice = torch.from_numpy(made.voices["v0"][0])
    assert codec.decode(codec.encode(wave), voice).shape == (6400,)


def test_a_speech_run_with_other_settings_is_not_continued(command, tmp_path):
    codec = ("experiment=mini_codec", "batch.batch_s=2")
    command(*codec, "steps=2")
    with pytest.raises(SystemExit, match=r"steps: 2 -> 3.*overwrite=true"):
        command(*codec, "steps=3")
    weights = tmp_path / "runs/mini_codec/network.safetensors"
    before = weights.read_bytes()
    command(*codec, "steps=3", "overwrite=true")
    assert weights.read_bytes() != before


def test_a_stretch_is_drawn_from_the_step_and_only_while_training(corpus):
    batches = RecordingBatches(corpus, "train", batch_s=2.0)
    batch = next(iter(batches))
    torch.manual_seed(0)
    module = CodecModule(CodecNetwork(**NETWORK), 30, 1e-3, 10, adversarial_from=5, ctc_weight=0.1)
    first, second = (module.losses(batch)[0] for _ in range(2))
    assert float(first["consistency"].detach()) == float(second["consistency"].detach()) > 0
    assert "consistency" not in module.eval().losses(batch)[0]


def test_training_lowers_the_mel_loss(tmp_path):
    out = fit_codec(tmp_path, 60, adversarial_from=1000)
    log = pd.read_csv(tmp_path / "metrics.csv")["mel"].dropna()
    assert log.iloc[-1] < 0.8 * log.iloc[0]
    with safe_open(out, "pt") as stored:
        assert json.loads(stored.metadata()["provenance"])["training"]["steps"] == 60


def test_a_run_of_the_loop_of_before_is_continued(command, tmp_path, capsys):
    """Its settings had other places, its checkpoint the same module."""
    codec = ("experiment=mini_codec", "batch.batch_s=2", "steps=4", "trainer.checkpoint_every=2")
    command(*codec)
    run = tmp_path / "runs/mini_codec"
    described = json.loads((run / "config.json").read_text())
    settings = described["settings"]
    trainer = settings.pop("trainer")
    settings["training"] |= {
        "steps": settings.pop("steps"),
        **{name: trainer[name] for name in ("precision", "accelerator")},
    }
    (run / "config.json").write_text(
        json.dumps({k: described[k] for k in ("settings", "input_sha256")})
    )
    (run / "network.safetensors").unlink()
    capsys.readouterr()
    command(*codec)
    assert (run / "network.safetensors").exists()
    with pytest.raises(SystemExit, match=r"training\.lr: 0\.0015 -> 0\.1"):
        command(*codec, "training.lr=0.1")
