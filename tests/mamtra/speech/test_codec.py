"""The codec's parts against their definitions, with small random networks."""

import copy
import json
import math

import pytest
import torch

from mamtra.speech import features
from mamtra.speech.codec import FSQ, N_ACOUSTIC, CodecNetwork
from mamtra.speech.features import HOP, SAMPLE_RATE_HZ, frame_count, log_mel
from mamtra.speech.mini_codec import MiniCodec, load_codec, save_codec
from mamtra.speech.vocoder import Vocoder, pulse_train
from tests.near import assert_near

NETWORK = {
    "width": 16,
    "fine_width": 8,
    "levels": (8, 5, 5, 5),
    "n_encoder_blocks": 1,
    "n_decoder_blocks": 1,
    "n_fine_blocks": 1,
}
VOCODER = {"width": 8, "n_blocks": 1}


@pytest.fixture
def codec() -> MiniCodec:
    torch.manual_seed(0)
    return MiniCodec(CodecNetwork(**NETWORK), Vocoder(**VOCODER)).eval()


def test_mel_filters_made_in_inference_mode_can_train_later():
    features._mel_filters.cache_clear()
    with torch.inference_mode():
        log_mel(torch.randn(1600))
    wave = torch.randn(1600, requires_grad=True)
    log_mel(wave).sum().backward()
    assert wave.grad is not None and wave.grad.abs().sum() > 0


def test_fsq_codes_round_trip_over_the_whole_codebook():
    fsq = FSQ((8, 5, 5, 5))
    codes = torch.arange(fsq.codebook_size)
    assert fsq.codebook_size == 1000
    assert torch.equal(fsq.to_codes(fsq.from_codes(codes)), codes)


def test_fsq_output_is_a_code_and_passes_gradients():
    fsq = FSQ((8, 5, 5, 5))
    z = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    quantised = fsq(z)
    assert_near(fsq.from_codes(fsq.to_codes(quantised)), quantised, 16)
    quantised.sum().backward()
    assert z.grad is not None and (z.grad > 0).all()


def test_fsq_reaches_every_level():
    fsq = FSQ((8, 5))
    grid = torch.cartesian_prod(torch.linspace(-4, 4, 101), torch.linspace(-4, 4, 101))
    assert fsq.to_codes(fsq(grid)).unique().numel() == 40


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 640, 6400, 6401])
def test_one_frame_per_started_hop_and_one_token_per_640_samples(codec, samples):
    wave = 0.1 * torch.randn(samples)
    assert log_mel(wave).shape == (frame_count(samples), 80)
    assert codec.encode(wave).shape == (math.ceil(samples / 640),)


def test_decode_length_range_and_determinism(codec):
    tokens, voice = torch.randint(0, 1000, (7,)), torch.randn(256)
    wave = codec.decode(tokens, voice)
    assert wave.shape == (7 * 640,) and wave.abs().max() <= 1
    assert torch.equal(wave, codec.decode(tokens, voice))
    assert not torch.equal(wave, codec.decode(tokens, -voice))
    assert codec.decode(tokens[:0], voice).shape == (0,)


def test_nothing_is_made_on_another_device_than_the_weights(codec):
    """What names no device is made on the default one, here one that no tensor can be mixed with."""
    wave = 0.1 * torch.randn(1300)
    voice = codec.voice(wave)
    tokens = codec.encode(wave)
    speech = codec.decode(tokens, voice)
    with torch.device("meta"):
        assert torch.equal(codec.encode(wave), tokens)
        assert torch.equal(codec.decode(tokens, voice), speech)
        assert codec.decode(tokens[:0], voice).device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_it_says_the_same(codec):
    wave = 0.1 * torch.randn(1300)
    voice, tokens = codec.voice(wave), codec.encode(wave)
    speech = codec.decode(tokens, voice)
    moved = copy.deepcopy(codec).to("cuda")
    # cuDNN convolves in TF32 by itself, and the phase of the pulses adds up what 10 bits of mantissa lose:
    # 0.02 off on an H200.
    with torch.backends.cudnn.flags(allow_tf32=False):
        assert torch.equal(moved.encode(wave), tokens)
        found = moved.decode(tokens, voice)
    assert found.device.type == "cpu"
    torch.testing.assert_close(found, speech, atol=1e-3, rtol=0)


def test_padding_does_not_change_valid_tokens_and_frames(codec):
    network = codec.network
    mel, voice = torch.randn(1, 16, 80), torch.randn(1, 256)
    padded = torch.cat([mel, 9 * torch.randn(1, 8, 80)], dim=1)
    mask = torch.cat([torch.ones(1, 16), torch.zeros(1, 8)], dim=1)
    alone = network.tokenizer(mel, mask[:, :16])
    together = network.tokenizer(padded, mask)
    assert_near(together[:, :4], alone, 16)
    frames = network.decoder(alone, voice, torch.ones(1, 4))
    longer = network.decoder(together, voice, mask[:, ::4])
    # The output convolution reads two frames past the end, where a lone row has zeros too.
    assert_near(longer[:, :16], frames, 16)
    assert frames.shape == (1, 16, N_ACOUSTIC)


def test_pulse_train_is_the_sum_of_cosines():
    f0 = torch.full((1, 50), 200.0)
    n = torch.arange(1, 50 * HOP + 1, dtype=torch.float64)
    phase = 2 * math.pi * 200.0 / SAMPLE_RATE_HZ * n
    count = 40
    expected = sum(torch.cos(k * phase) for k in range(1, count + 1)) * math.sqrt(2 / count)
    assert_near(pulse_train(f0)[0], expected.float(), 16)


def test_bad_input_is_named(codec):
    with pytest.raises(ValueError, match=r"0\.\.999"):
        codec.decode(torch.tensor([1000]), torch.zeros(256))
    with pytest.raises(ValueError, match="non-empty"):
        codec.encode(torch.zeros(0))
    with pytest.raises(ValueError, match="audible"):
        codec.voice(torch.zeros(16000))


def test_save_and_load(codec, tmp_path):
    save_codec(tmp_path, codec, {"network": NETWORK, "vocoder": VOCODER}, {"made": "here"})
    loaded = load_codec(tmp_path)
    for name, tensor in codec.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float()), name
    assert json.loads((tmp_path / "codec.json").read_text())["provenance"] == {"made": "here"}
    assert not list(tmp_path.glob("*.partial"))


def test_load_names_what_is_wrong(codec, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"codec\.safetensors"):
        load_codec(tmp_path)
    other = {"network": {**NETWORK, "n_fine_blocks": 2}, "vocoder": VOCODER}
    save_codec(tmp_path, codec, other, {})
    with pytest.raises(ValueError, match=r"network\.decoder\.fine\.1"):
        load_codec(tmp_path)
    (tmp_path / "codec.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_codec(tmp_path)
