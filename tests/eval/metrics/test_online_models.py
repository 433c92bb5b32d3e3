"""Adapters of models whose weights no wheel carries: the real classes on random weights."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from eval.metrics.mos.load import load_mos
from eval.metrics.mos.utmos22 import UTMOS22, WEIGHTS
from eval.metrics.speaker.load import load_speaker
from eval.metrics.speaker.wavlm import LARGE, WavLMSpeaker
from eval.metrics.weights import Unavailable, revision

SMALL = {
    **LARGE,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
WAVE = 0.1 * np.random.default_rng(0).standard_normal(9000).astype(np.float32)
# What UniSpeech's own ECAPA_TDNN_SMALL made of `checkpoint` and WAVE: the first values of its unit vector.
UNISPEECH = (0.0218360, -0.0077401, 0.0907370, 0.0038191, -0.0103442, -0.0327824)


def original_wavlm():
    from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

    sizes = {
        "extractor_mode": "layer_norm",
        "layer_norm_first": True,
        "encoder_layers": 3,
        "encoder_embed_dim": 32,
        "encoder_ffn_embed_dim": 64,
        "encoder_attention_heads": 4,
        "relative_position_embedding": True,
        "max_distance": 800,
        "gru_rel_pos": True,
        "normalize": True,
    }
    torch.manual_seed(0)
    return WavLM(WavLMConfig(sizes)).eval()


def head_weights() -> dict[str, torch.Tensor]:
    from transformers import WavLMConfig

    from eval.metrics.speaker.ecapa_head import WavLMVerifier

    generator = torch.Generator().manual_seed(1)
    shapes = {
        name: value.shape
        for name, value in sorted(WavLMVerifier(WavLMConfig(**SMALL)).state_dict().items())
        if not name.startswith("wavlm.") and value.is_floating_point()
    }
    return {
        name: torch.rand(shape, generator=generator) + 0.5
        if name.endswith("running_var")
        else 0.1 * torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    }


@pytest.fixture
def checkpoint(tmp_path):
    """A file in the form of wavlm_large_finetune.pth, of a small WavLM."""
    inside = original_wavlm().state_dict()
    content = {f"feature_extract.model.{name}": value for name, value in inside.items()}
    content |= head_weights()
    content |= {
        name.replace("running_mean", "num_batches_tracked"): torch.tensor(0)
        for name in head_weights()
        if name.endswith("running_mean")
    }
    content["loss_calculator.projection.weight"] = torch.zeros(5, 256)
    torch.save({"model": content}, tmp_path / "w.pth")
    return tmp_path / "w.pth"


needs_original = pytest.mark.skipif(not find_spec("s3prl"), reason="pip install --no-deps s3prl")


@needs_original
def test_wavlm_has_the_hidden_states_of_the_original(checkpoint):
    original, found = original_wavlm(), []
    for layer in original.encoder.layers:
        layer.register_forward_hook(lambda _, args, out: found.append(args[0].transpose(0, 1)))
    original.encoder.register_forward_hook(lambda _, args, out: found.append(out[0]))
    wave = F.layer_norm(torch.from_numpy(WAVE)[None], (len(WAVE),))
    with torch.inference_mode():
        original.extract_features(wave, padding_mask=torch.zeros_like(wave, dtype=torch.bool))
    speaker = WavLMSpeaker(checkpoint, sizes=SMALL)
    speaker.embed(WAVE)
    taken = []
    network = speaker._network
    weights = torch.eye(4) * 1e4  # each in turn alone
    network.instance_norm.register_forward_pre_hook(lambda _, args: taken.append(args[0]))
    for row in weights:
        network.feature_weight.data = row
        speaker.embed(WAVE)
    for ours, theirs in zip(taken, found, strict=True):
        torch.testing.assert_close(ours, theirs.transpose(1, 2) + 1e-6, rtol=0, atol=1e-5)


@needs_original
def test_the_embedding_is_that_of_unispeech(checkpoint):
    found = WavLMSpeaker(checkpoint, sizes=SMALL).embed(WAVE)
    np.testing.assert_allclose(found[: len(UNISPEECH)], UNISPEECH, atol=1e-5)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)


@needs_original
@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_another_checkpoint_is_refused(checkpoint, change):
    content = torch.load(checkpoint, weights_only=True)["model"]
    name = "feature_extract.model.encoder.layers.2.fc1.weight"
    if change == "missing":
        del content[name]
    elif change == "extra":
        content["layer5.conv.weight"] = torch.zeros(1)
    else:
        content[name] = content[name][:-1]
    torch.save({"model": content}, checkpoint)
    with pytest.raises(Unavailable, match=r"w\.pth is not wavlm_large_finetune\.pth"):
        WavLMSpeaker(checkpoint, sizes=SMALL).embed(WAVE)


def test_a_missing_or_damaged_speaker_checkpoint_says_where_to_get_it(tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    for name in ("none.pth", "bad.pth"):
        with pytest.raises(
            Unavailable, match=r"seed-tts-eval's README links: speaker=wavlm:<file>"
        ):
            load_speaker(f"wavlm:{tmp_path / name}", "cpu").embed(WAVE)
    with pytest.raises(Unavailable, match=r"wavlm:<wavlm_large_finetune\.pth>"):
        load_speaker("wavlm", "cpu")


HUB = """
import torch
from speechmos.inside import ONE

class Loudness(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(()))

    def forward(self, wave, sr):
        assert sr == 16000 and wave.dim() == 2
        return ONE + self.scale * wave.abs().mean(dim=1)

def utmos22_strong(progress=True, pretrained=True):
    assert not pretrained
    return Loudness()
"""


@pytest.fixture
def speechmos(tmp_path):
    """A folder in the form of a checkout of SpeechMOS, with a network of one weight."""
    (tmp_path / "hubconf.py").write_text(HUB)
    (tmp_path / "speechmos").mkdir()
    (tmp_path / "speechmos/__init__.py").touch()
    (tmp_path / "speechmos/inside.py").write_text("ONE = 1\n")
    torch.save({"scale": torch.tensor(2.0)}, tmp_path / WEIGHTS)
    return tmp_path


def test_utmos_loads_from_a_checkout_and_scores(speechmos):
    import hashlib

    sha256 = hashlib.sha256((speechmos / WEIGHTS).read_bytes()).hexdigest()
    other = load_mos("dnsmos", "cpu")  # its package has the same name
    before = other.score(WAVE)
    mos = UTMOS22(str(speechmos), sha256=sha256)
    assert mos.score(WAVE) == pytest.approx(1 + 2 * np.abs(WAVE).mean(), abs=1e-5)
    assert mos.key != UTMOS22(str(speechmos)).key and other.score(WAVE) == before


def test_utmos_refuses_other_weights_and_says_what_to_get(speechmos):
    with pytest.raises(Unavailable, match=r"sha256 .*, not 38aa51ab"):
        load_mos(f"utmos22:{speechmos}", "cpu").score(WAVE)
    (speechmos / WEIGHTS).unlink()
    with pytest.raises(Unavailable, match=r"checkout of SpeechMOS at ed25eac, with utmos22_strong"):
        load_mos(f"utmos22:{speechmos}", "cpu").score(WAVE)


def test_utmos_without_a_network_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_get_cache_or_reload", lambda *a, **k: str(tmp_path / "none"))
    with pytest.raises(Unavailable, match="Without a network"):
        load_mos("utmos22", "cpu").score(WAVE)


def test_revision_tells_checkpoints_apart(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    assert revision(tmp_path / "a") != revision(tmp_path / "b")
