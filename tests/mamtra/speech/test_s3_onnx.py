"""Upstream's ONNX way to speech tokens, on a small model with the real one's two inputs."""

from importlib.util import find_spec

import pytest
import torch

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("s3tokenizer", "onnxruntime", "onnx"))),
    reason="pip install -e '.[cosyvoice2]'",
)


class Pooled(torch.nn.Module):
    """One code per four frames: how loud they are, and how many there are."""

    def forward(self, mel, length):
        means = torch.nn.functional.avg_pool1d(mel.mean(dim=1, keepdim=True), 4, ceil_mode=True)[
            :, 0
        ]
        return (1000 * means.abs()).long() + length[:, None]


@pytest.fixture
def folder(tmp_path):
    from mamtra.speech.s3 import ONNX_FILE

    torch.onnx.export(
        Pooled(),
        (torch.zeros(1, 128, 40), torch.tensor([40], dtype=torch.int32)),
        str(tmp_path / ONNX_FILE),
        input_names=["feats", "feats_length"],
        dynamic_axes={"feats": {2: "frames"}},
        dynamo=False,
    )
    return tmp_path


def test_frames_and_their_number_reach_the_model(folder):
    import s3tokenizer

    from mamtra.speech.s3 import load_s3_onnx

    wave = 0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    first, second = load_s3_onnx(folder).encode([wave, wave[:9_000]])
    mel = s3tokenizer.log_mel_spectrogram(wave)[None]
    assert torch.equal(first, Pooled()(mel, torch.tensor([100]))[0])
    assert (len(first), len(second), first.dtype) == (25, 14, torch.int64)


def test_bad_files_and_audio_are_named(folder, tmp_path):
    from mamtra.speech.s3 import ONNX_FILE, load_s3_onnx, onnx_session

    with pytest.raises(ValueError, match="waveform 1 lasts 31"):
        load_s3_onnx(folder).encode([torch.ones(9_000), torch.ones(31 * 16_000)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="speech_tokenizer_v2"):
        load_s3_onnx(tmp_path / "empty")
    (folder / ONNX_FILE).write_bytes(b"none")
    with pytest.raises(ValueError, match="not an ONNX model"):
        onnx_session(folder / ONNX_FILE)
