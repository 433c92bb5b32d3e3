"""Codec and vocoder training on a synthetic in-memory corpus."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file

from data.codec_batches import CropBatches, RecordingBatches
from data.codec_features import CodecCorpus
from lightning_modules import fit_codec as runs
from lightning_modules.codec import CodecModule
from mamtra.speech import load_codec
from mamtra.speech.codec import CodecNetwork
from mamtra.speech.features import HOP, log_mel
from mamtra.text.characters import CharacterTokenizer
from tests.lightning_modules.small_codec import NETWORK, VOCODER, fit, synthetic_corpus, with_phones
from train import main

ROOT = Path(__file__).parents[2]


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
    valid = RecordingBatches(made, "valid", 2.0)
    fit(
        tmp_path,
        steps=60,
        train=RecordingBatches(made, "train", 2.0),
        valid=[valid.batch(rows, draws) for rows, draws in valid.epoch(0)],
        ctc_weight=0.0,
        phone_weight=1.0,
        n_phones=2,
        adversarial_from=1000,
    )
    log = pd.read_csv(tmp_path / "codec" / "log" / "metrics.csv")
    assert "train/ctc" not in log
    assert log["train/phone"].dropna().iloc[-1] < 0.5  # chance is 0.69


def test_a_phone_loss_needs_phoneme_times(tmp_path):
    made = with_phones(synthetic_corpus(), known=False)
    train = RecordingBatches(made, "train", 2.0)
    with pytest.raises(ValueError, match=r"no phonemes\.parquet"):
        fit(tmp_path, steps=2, train=train, phone_weight=1.0, n_phones=3)


def test_codec_then_vocoder_export_a_codec_that_loads(corpus, tmp_path, capsys):
    weights = fit(tmp_path, steps=30)
    out = runs.fit_vocoder(
        run=tmp_path / "vocoder",
        train=CropBatches(corpus, "train", rows=4, frames=16),
        network=NETWORK,
        vocoder=VOCODER,
        codec_weights=weights,
        steps=8,
        lr=1e-3,
        adversarial_from=4,
        precision="32-true",
        accelerator="cpu",
        provenance={"made": "in a test"},
    )
    codec = load_codec(tmp_path / "vocoder" / "codec")
    wave = torch.from_numpy(corpus.audio[:6400].astype(np.float32) / 32767)
    tokens = codec.encode(wave)
    assert codec.decode(tokens, torch.from_numpy(corpus.voices["v0"][0])).shape == (6400,)
    assert out.exists()
    fit(tmp_path, steps=30)
    assert "nothing to do" in capsys.readouterr().out


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs `python train.py experiment=<name> ...` on the synthetic corpus, at tiny sizes."""
    made, features = synthetic_corpus(), tmp_path / "corpus" / "features" / "part-000"
    features.mkdir(parents=True)
    for name in ("audio", "mel", "f0"):
        np.save(features / f"{name}.npy", getattr(made, name))
    np.savez(features / "voices.npz", **made.voices)
    made.index.to_csv(features / "index.csv", index=False)
    made.index.to_csv(tmp_path / "corpus" / "manifest.csv", index=False)
    monkeypatch.chdir(tmp_path)
    sizes = ["codec.network.width=16", "codec.network.fine_width=8", "codec.vocoder.width=8"]
    common = [*sizes, "training.precision=32-true", "paths.corpus=corpus", "paths.runs=runs"]

    def run(*overrides: str) -> None:
        with initialize_config_dir(str(ROOT / "configs"), version_base=None):
            main(compose("train", overrides=[*common, *overrides]))

    return run


def test_the_two_commands_in_either_order_make_a_codec(command, tmp_path, capsys):
    vocoder = ("experiment=mini_vocoder", "training.steps=2", "batch.frames=16", "batch.rows=2")
    command(*vocoder)
    assert "train the codec, then run this again" in capsys.readouterr().out
    assert not (tmp_path / "runs/mini_vocoder/codec").exists()
    command("experiment=mini_codec", "training.steps=2", "batch.batch_s=2")
    assert (tmp_path / "runs/mini_codec/recogniser.safetensors").exists()
    command(*vocoder)
    assert "nothing to train" in capsys.readouterr().out
    load_codec(tmp_path / "runs/mini_vocoder/codec")


def test_a_speech_run_with_other_settings_is_not_continued(command, tmp_path):
    codec = ("experiment=mini_codec", "batch.batch_s=2")
    command(*codec, "training.steps=2")
    with pytest.raises(SystemExit, match=r"training\.steps: 2 -> 3.*overwrite=true"):
        command(*codec, "training.steps=3")
    weights = tmp_path / "runs/mini_codec/network.safetensors"
    before = weights.read_bytes()
    command(*codec, "training.steps=3", "overwrite=true")
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
    fit(tmp_path, steps=60, adversarial_from=1000)
    log = pd.read_csv(tmp_path / "codec" / "log" / "metrics.csv")["train/mel"].dropna()
    assert log.iloc[-1] < 0.8 * log.iloc[0]


def test_a_resumed_codec_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    whole = load_file(fit(tmp_path, steps=30, run=tmp_path / "whole"))
    original, runs.ModelCheckpoint = runs.ModelCheckpoint, _CheckpointThenStop
    try:
        with pytest.raises(_Stop):
            fit(tmp_path, steps=30, run=tmp_path / "cut")
    finally:
        runs.ModelCheckpoint = original
    resumed = load_file(fit(tmp_path, steps=30, run=tmp_path / "cut"))
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, msg=lambda m, n=name: f"{n}: {m}")


class _Stop(Exception):
    pass


class _CheckpointThenStop(runs.ModelCheckpoint):
    """Saves after step 10, in the middle of the adversarial part, and ends the run there."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**kwargs, "every_n_train_steps": 10})

    def on_train_batch_end(self, trainer, *args):
        super().on_train_batch_end(trainer, *args)
        if trainer.global_step == 10:
            raise _Stop
