"""CosyVoice 2's flow and vocoder adapter against upstream's own modules, same weights and noise."""

import sys
import types
from importlib.util import find_spec

import pytest
import torch
import torchaudio

from tests.near import assert_near

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(find_spec, ("stepaudio2", "s3tokenizer", "onnxruntime"))),
        reason="pip install -e '.[cosyvoice2]'",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from tools.fake_cosyvoice2 import write_fake_speech

    home = tmp_path_factory.mktemp("CosyVoice2-0.5B")
    write_fake_speech(home)
    return home


@pytest.fixture(scope="module")
def codec(folder):
    from mamtra.speech.cosyvoice2 import load_cosyvoice2

    return load_cosyvoice2(folder)


@pytest.fixture(scope="module")
def wave():
    return 0.1 * torch.randn(2 * 16_000, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def voice(codec, wave):
    return codec.voice(wave)


def upstream_flow():
    """CausalMaskedDiffWithXvec as cosyvoice2.yaml builds it."""
    pytest.importorskip("cosyvoice.flow.flow", reason="pip install --no-deps token2wav-cosyvoice")
    for name in ("gdown", "wget"):  # its helpers import downloaders that nothing here calls
        sys.modules.setdefault(name, types.ModuleType(name))
    from cosyvoice.flow.decoder import CausalConditionalDecoder
    from cosyvoice.flow.flow import CausalMaskedDiffWithXvec
    from cosyvoice.flow.flow_matching import CausalConditionalCFM
    from cosyvoice.transformer.upsample_encoder import UpsampleConformerEncoder
    from omegaconf import DictConfig

    encoder = UpsampleConformerEncoder(
        input_size=512,
        output_size=512,
        attention_heads=8,
        linear_units=2048,
        num_blocks=6,
        input_layer="linear",
        pos_enc_layer_type="rel_pos_espnet",
        selfattention_layer_type="rel_selfattn",
        use_cnn_module=False,
        macaron_style=False,
        static_chunk_size=25,
    )
    estimator = CausalConditionalDecoder(
        in_channels=320,
        out_channels=80,
        channels=[256],
        dropout=0.0,
        attention_head_dim=64,
        n_blocks=4,
        num_mid_blocks=12,
        num_heads=8,
        act_fn="gelu",
        static_chunk_size=50,
        num_decoding_left_chunks=-1,
    )
    settings = DictConfig(
        {
            "sigma_min": 1e-6,
            "solver": "euler",
            "t_scheduler": "cosine",
            "training_cfg_rate": 0.2,
            "inference_cfg_rate": 0.7,
            "reg_loss_type": "l1",
        }
    )
    decoder = CausalConditionalCFM(240, settings, 1, 80, estimator)
    return CausalMaskedDiffWithXvec(
        encoder=encoder, decoder=decoder, vocab_size=6561, input_frame_rate=25
    )


def test_mel_frames_of_a_prompt_are_those_of_its_recording_at_24_khz(codec):
    """Upstream's way: the file is read at 16 kHz for the tokens and again at 24 kHz for the frames."""
    from stepaudio2.flashcosyvoice.utils.audio import mel_spectrogram

    original = 0.1 * torch.randn(48_000, generator=torch.Generator().manual_seed(3))
    wave = torchaudio.functional.resample(original, 24_000, 16_000)
    without, voice = codec.voice(wave), codec.voice(wave, (original, 24_000))
    expected = mel_spectrogram(original[None])[0].T
    assert torch.equal(voice.mel, expected[: len(voice.mel)])
    assert torch.equal(voice.tokens, without.tokens)
    assert float((voice.mel - without.mel)[:, -1].mean()) > 0.1, "16 kHz lack the top band"


def test_mel_is_upstreams_bit_by_bit(folder, codec, voice):
    flow = upstream_flow()
    flow.load_state_dict(torch.load(folder / "flow.pt", weights_only=True), strict=True)
    tokens = voice.tokens[:12]
    expected, _ = flow.eval().inference(
        token=tokens[None],
        token_len=torch.tensor([12]),
        prompt_token=voice.tokens[None],
        prompt_token_len=torch.tensor([len(voice.tokens)]),
        prompt_feat=voice.mel[None],
        prompt_feat_len=torch.tensor([len(voice.mel)]),
        embedding=voice.speaker[None],
        streaming=False,
        finalize=True,
    )
    assert torch.equal(codec.mel(tokens, voice), expected[0])


def upstream_vocoder(folder):
    """HiFTGenerator as cosyvoice2.yaml builds it, with the folder's weights."""
    generator = pytest.importorskip("cosyvoice.hifigan.generator")
    from cosyvoice.hifigan.f0_predictor import ConvRNNF0Predictor

    vocoder = generator.HiFTGenerator(
        in_channels=80,
        base_channels=512,
        nb_harmonics=8,
        sampling_rate=24_000,
        nsf_alpha=0.1,
        nsf_sigma=0.003,
        nsf_voiced_threshold=10,
        upsample_rates=[8, 5, 3],
        upsample_kernel_sizes=[16, 11, 7],
        istft_params={"n_fft": 16, "hop_len": 4},
        resblock_kernel_sizes=[3, 7, 11],
        resblock_dilation_sizes=[[1, 3, 5]] * 3,
        source_resblock_kernel_sizes=[7, 7, 11],
        source_resblock_dilation_sizes=[[1, 3, 5]] * 3,
        lrelu_slope=0.1,
        audio_limit=0.99,
        f0_predictor=ConvRNNF0Predictor(num_class=1, in_channels=80, cond_channels=512),
    ).eval()
    stored = torch.load(folder / "hift.pt", weights_only=True)
    vocoder.load_state_dict(
        {k.replace("generator.", ""): v for k, v in stored.items()}, strict=True
    )
    return vocoder


def test_wave_is_upstreams_bit_by_bit(folder, codec, voice):
    tokens = voice.tokens[:12]
    vocoder = upstream_vocoder(folder)
    torch.manual_seed(0)
    expected, _ = vocoder.inference(speech_feat=codec.mel(tokens, voice)[None])
    found = codec.decode(tokens, voice)
    assert found.shape == (12 * 960,) and torch.equal(found, expected[0])


class ReseededVocoder:
    """Upstream's vocoder with the phases and noise of one seed in every chunk, as ours has them."""

    def __init__(self, vocoder):
        self.vocoder = vocoder

    def inference(self, **inputs):
        torch.manual_seed(0)
        return self.vocoder.inference(**inputs)


def test_streamed_chunks_are_upstreams(folder, codec, voice):
    pytest.importorskip("cosyvoice.cli.model")
    from cosyvoice.cli.model import CosyVoice2Model

    flow = upstream_flow()
    flow.load_state_dict(torch.load(folder / "flow.pt", weights_only=True), strict=True)
    model = CosyVoice2Model(None, flow.eval(), ReseededVocoder(upstream_vocoder(folder)))
    n_tokens = 40  # a chunk and the rest
    tokens = torch.randint(0, 6561, (n_tokens,), generator=torch.Generator().manual_seed(2))
    model.hift_cache_dict["one"] = None
    expected, done, n_prompt = [], 0, len(voice.tokens)
    hop = 25 + -n_prompt % 25
    with torch.inference_mode():
        while n_tokens - done >= hop + 3:
            given = (tokens[None, : done + hop + 3], voice.tokens[None], voice.mel[None])
            options = {"token_offset": done, "uuid": "one", "stream": True}
            expected.append(model.token2wav(*given, voice.speaker[None], **options)[0])
            done, hop = done + hop, 25
        given = (tokens[None], voice.tokens[None], voice.mel[None], voice.speaker[None])
        expected.append(model.token2wav(*given, token_offset=done, uuid="one", finalize=True)[0])
    stream = codec.stream(voice)
    found = [stream.push([int(t)], False) for t in tokens[:-1]] + [stream.push([tokens[-1]], True)]
    chunks = [chunk for chunk in found if len(chunk)]
    assert len(chunks) == len(expected) == 2
    for one, other in zip(chunks, expected, strict=True):
        assert_near(one.float(), other.float(), 64)
    assert sum(map(len, chunks)) == 960 * n_tokens


def test_decoding_leaves_the_callers_randomness_alone(codec, voice):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    codec.decode(voice.tokens[:4], voice)
    assert torch.equal(torch.rand(1), expected)


def test_tokens_of_a_batch_are_those_of_single_waves(codec, wave):
    waves = [wave, wave[:20_000], wave[:9_999]]
    together = codec._tokenizer.encode(waves)
    assert [len(tokens) for tokens in together] == [50, 32, 16]
    for one, tokens in zip(waves, together, strict=True):
        assert torch.equal(codec.encode(one), tokens)


def test_the_prompt_has_two_frames_per_token(codec, wave):
    voice = codec.voice(wave[:20_123])
    assert voice.mel.shape == (2 * len(voice.tokens), 80) and voice.speaker.shape == (192,)


def test_bad_audio_and_tokens_are_named(codec, voice, wave):
    for bad, message in (
        (wave[:100], "less than one token"),
        (torch.zeros(31 * 16_000), "at most 30 s"),
        (wave[None], "not \\(n,\\)"),
        (torch.full((16_000,), float("nan")), "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            codec.encode(bad)
    with pytest.raises(ValueError, match=r"0\.\.6560"):
        codec.decode(torch.tensor([6561]), voice)
    with pytest.raises(ValueError, match="at most 7500"):
        codec.mel(torch.zeros(7500, dtype=torch.long), voice)
    assert codec.decode(torch.zeros(0, dtype=torch.long), voice).shape == (0,)


def test_other_folders_are_named(folder, tmp_path):
    from mamtra.speech.cosyvoice2 import check_folder, load_cosyvoice2

    with pytest.raises(FileNotFoundError, match=r"flow\.pt is missing"):
        load_cosyvoice2(tmp_path)
    for name in ("hift.pt", "campplus.onnx"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "flow.pt").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="git lfs pull"):
        check_folder(tmp_path)
    (tmp_path / "flow.pt").unlink()
    (tmp_path / "flow.pt").symlink_to(folder / "hift.pt")
    with pytest.raises(FileNotFoundError, match="speech_tokenizer_v2"):
        load_cosyvoice2(tmp_path)
    (tmp_path / "speech_tokenizer_v2.pt").symlink_to(folder / "speech_tokenizer_v2.pt")
    with pytest.raises(ValueError, match=r"flow\.pt: .*Missing key"):
        load_cosyvoice2(tmp_path)
    (tmp_path / "speech_tokenizer_v3.onnx").touch()
    with pytest.raises(ValueError, match="CosyVoice 3"):
        check_folder(tmp_path)
