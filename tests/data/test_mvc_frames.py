"""Frames that the codec makes of shipped tokens as a corpus, and the folder of assets they come from."""

import json
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
import torch

from data.codec_features import prepare
from data.mvc_assets import gather
from data.mvc_batches import MVCDataModule
from data.mvc_durations import COLUMNS
from data.mvc_frames import read_voices, rows_of, write_frames
from data.shipping import version_of
from mamtra.model_folder import CheckpointError
from mamtra.mvc.folder import load_mvc, save_mvc
from mamtra.mvc.model import build
from mamtra.speech.mini_codec import load_codec
from mamtra.text.phonemes import PhonemeTokenizer
from tests.shipped import OPEN
from tests.small_mvc import SMALLEST

N = 4


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    """Durations and voices of some shipped recordings."""
    folder = tmp_path_factory.mktemp("timed")
    table = pd.read_parquet(OPEN / "tokens.parquet").query("split == 'train'").head(N)
    rows, rng = [], np.random.default_rng(0)
    for i, row in enumerate(table.itertuples()):
        ids = [0, *PhonemeTokenizer().encode(row.text)]
        durations = rng.multinomial(4 * len(row.tokens), np.ones(len(ids)) / len(ids))
        split = "valid" if i == N - 1 else "train"
        rows.append((row.utterance, np.int16(ids), np.int16(durations), "times", split))
    pd.DataFrame(rows, columns=[*COLUMNS, "split"]).to_parquet(folder / "durations.parquet")
    # Sorted: the order of a set of strings is another in every process.
    voices = {v: rng.standard_normal((2, 256)) for v in sorted(set(table["voice"]))}
    unit = {v: e / np.linalg.norm(e, axis=1, keepdims=True) for v, e in voices.items()}  # as GE2E's
    shipped = {v: e.astype(np.float32) for v, e in unit.items()}
    np.savez(folder / "voices.npz", allow_pickle=False, **shipped)
    return folder


def test_they_are_what_the_codec_speaks_and_a_corpus_to_train_on(timed, tmp_path, capsys):
    out = tmp_path / "corpus"
    write_frames(OPEN, timed, out)
    features = prepare(out)
    table = rows_of(OPEN, timed)
    codec, voices = load_codec(OPEN), read_voices(timed / "voices.npz")
    data = MVCDataModule(out, out / "durations.parquet", batch_s=20, joined=0.0, seed=0, mel=False)
    assert (len(data.train), len(data.valid)) == (N - 1, 1)
    batch = data.train.batch([[0]], [0], mel=False)
    row = table.iloc[0]
    voice = torch.from_numpy(voices[row["voice"]][0])
    codes = codec.network.tokenizer.fsq.from_codes(torch.from_numpy(row["tokens"].astype(np.int64)))
    with torch.inference_mode():
        said = codec.network.decoder(codes[None], voice[None], torch.ones(1, len(codes)))[0]
    mel, log_f0, voiced = batch.mel[0], batch.log_f0[0], batch.voiced[0]
    torch.testing.assert_close(mel, said[:, :80], rtol=0, atol=0.02)  # stored in half precision
    torch.testing.assert_close(voiced, (said[:, 81] > 0).float())
    assert 0.1 < voiced.mean() < 1.0
    torch.testing.assert_close(log_f0[voiced > 0], said[voiced > 0, 80], rtol=1e-4, atol=1e-5)
    found = codec.vocode(torch.cat((mel, torch.stack((log_f0, voiced * 12 - 6), dim=1)), dim=1))
    wanted = codec.decode(torch.from_numpy(row["tokens"].astype(np.int64)), voice)
    assert found.shape == wanted.shape
    # The codec's own logits are not hard, so the waveforms are alike, not the same; their spectra are close.
    energy = [
        np.log(np.square(w.numpy().reshape(-1, 640)).mean(axis=1) + 1e-6) for w in (found, wanted)
    ]
    assert np.corrcoef(*energy)[0, 1] > 0.98
    assert features.voices.keys() == voices.keys()
    written = (out / "manifest.csv").stat().st_mtime_ns
    write_frames(OPEN, timed, out)
    assert (out / "manifest.csv").stat().st_mtime_ns == written
    assert "is there" in capsys.readouterr().out


def test_what_ships_makes_the_same_corpus_again(timed, tmp_path):
    corpus, model = tmp_path / "corpus", tmp_path / "model"
    write_frames(OPEN, timed, corpus)
    torch.manual_seed(0)
    save_mvc(model, build(SMALLEST, "mvc"), {}, "fp16")
    shipped = tmp_path / "assets"
    gather(model, corpus, corpus / "durations.parquet", shipped, OPEN)
    manifest = json.loads((shipped / "manifest.json").read_text())
    assert manifest["packages"]["torch"] == version("torch")
    files = manifest["files"]
    assert set(files) == {"model.json", "model.safetensors", "durations.parquet", "voices.npz"}
    assert load_mvc(shipped).arm == "mvc"
    again = tmp_path / "again"
    write_frames(OPEN, shipped, again)
    first, second = (pd.read_csv(x / "manifest.csv").drop(columns="wav") for x in (corpus, again))
    pd.testing.assert_frame_equal(first, second)
    pitches = [np.asarray(prepare(x).f0.parts[0]) for x in (corpus, again)]
    # Voices are stored in half precision.
    np.testing.assert_allclose(np.median(pitches[0]), np.median(pitches[1]), rtol=0.02)


def test_a_package_that_is_not_there_has_no_version():
    assert version_of("a-package-that-nobody-made") is None
    assert version_of("torch") == version("torch")


def test_bad_folders_say_what_is_wrong(timed, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"durations\.parquet is missing: assets/open and"):
        write_frames(OPEN, tmp_path / "nothing", tmp_path / "out")
    other = tmp_path / "other"
    other.mkdir()
    table = pd.read_parquet(timed / "durations.parquet")
    (other / "voices.npz").write_bytes((timed / "voices.npz").read_bytes())
    table["durations"] = [d + 1 for d in table["durations"]]
    table.to_parquet(other / "durations.parquet")
    with pytest.raises(
        ValueError, match=r"sum to \d+ frames, its tokens are \d+: .* another corpus"
    ):
        rows_of(OPEN, other)
    table.assign(utterance="nobody").to_parquet(other / "durations.parquet")
    with pytest.raises(ValueError, match="has no recording of"):
        write_frames(OPEN, other, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.csv").exists()
    with pytest.raises(CheckpointError):
        load_mvc(other)
