"""`llm.pt` in and out, against the independent Qwen2LM of the token2wav-cosyvoice wheel."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from mamtra.backbone.layer_plan import ATTENTION, MAMBA, layer_plan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import CheckpointError
from mamtra.lm.sequence import IGNORE, build_bistream, build_sequence, collate
from mamtra.lm.speech_lm import SpeechLM
from mamtra.transfer.cosyvoice2 import (
    N_PARAMETERS,
    SIZES,
    SPEECH_VOCAB,
    read_llm_pt,
    read_upstream,
    write_upstream,
)
from mamtra.transfer.student import build_student
from tests.near import assert_near

TEXT_VOCAB = 512
SMALL = BackboneSizes(
    d_model=896, n_layers=2, n_heads=14, n_kv_heads=2, head_dim=64, d_ff=256, rope_theta=1e6
)
# Text and speech lengths: ratio above 3 with a rest, above 3 without, below 3, exactly 3.
LENGTHS = [(7, 40), (10, 33), (5, 11), (3, 9)]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    """Upstream's Qwen2LM with two small random layers (896 and 6561 are hard-coded there)."""
    llm = pytest.importorskip(
        "cosyvoice.llm.llm", reason="pip install --no-deps token2wav-cosyvoice"
    )
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("blank")
    config = transformers.Qwen2Config(
        vocab_size=TEXT_VOCAB,
        hidden_size=896,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=14,
        num_key_value_heads=2,
        rope_theta=1e6,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    transformers.Qwen2ForCausalLM(config).save_pretrained(folder)
    encoder = llm.Qwen2Encoder(str(folder))
    model = llm.Qwen2LM(896, 896, SPEECH_VOCAB, encoder, partial(int), True, 0.0, [5, 15]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = 0.05 * torch.randn_like(parameter)
            parameter.copy_(noise if parameter.ndim > 1 else parameter + noise)
    return model


@pytest.fixture(scope="module")
def llm_pt(upstream, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "llm.pt"
    torch.save({**upstream.state_dict(), "epoch": 3, "step": 9}, path)
    return path


@pytest.fixture(scope="module")
def utterances():
    g = torch.Generator().manual_seed(1)
    return [
        (
            torch.randint(0, TEXT_VOCAB, (n_text,), generator=g),
            torch.randint(0, SPEECH_VOCAB, (n_speech,), generator=g),
        )
        for n_text, n_speech in LENGTHS
    ]


@pytest.mark.parametrize("bistream", [False, True])
@torch.no_grad()
def test_logits_and_loss_are_upstreams(upstream, llm_pt, utterances, bistream, monkeypatch):
    texts, speeches = zip(*utterances, strict=True)
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    batch = {
        "text_token": pad(texts),
        "text_token_len": torch.tensor([len(t) for t in texts], dtype=torch.int32),
        "speech_token": pad(speeches),
        "speech_token_len": torch.tensor([len(s) for s in speeches], dtype=torch.int32),
    }
    caught = []
    handle = upstream.llm_decoder.register_forward_hook(lambda _m, _a, out: caught.append(out))
    monkeypatch.setattr("random.random", lambda: 0.0 if bistream else 0.9)
    expected = upstream(batch, torch.device("cpu"))
    handle.remove()

    sequences = []
    for text, speech in utterances:
        streams = bistream and len(speech) / len(text) > 3
        build = build_bistream if streams else build_sequence
        sequences.append(build(text, speech, SPEECH_VOCAB))
    ours = collate(sequences, ["u"] * len(sequences))
    model = read_llm_pt(llm_pt, SMALL)
    logits = model(model.embed(ours.ids, ours.kinds), ours.mask).logits
    # Sums of 896 products: 17 roundings of the largest logit (7) measured, 1.4e-5.
    assert_near(logits[ours.mask], caught[0][ours.mask], 64)
    loss = F.cross_entropy(logits.flatten(0, 1), ours.targets.flatten(), ignore_index=IGNORE)
    assert_near(loss, expected["loss"], 16)


@torch.no_grad()
def test_cached_decoding_is_teacher_forcing_also_for_text_into_a_live_cache(llm_pt, utterances):
    model = read_llm_pt(llm_pt, SMALL)
    ids, kinds, _ = build_bistream(*utterances[0], SPEECH_VOCAB)
    embeds = model.embed(ids[None], kinds[None])
    wanted = model(embeds).logits
    _, state = model.prefill(embeds[:, :6], max_length=len(ids))
    # 15 speech tokens one by one, then the next 5 positions (rest of the text, task) at once.
    found = [model.step(embeds[:, i : i + 1], state) for i in range(6, 21)]
    found += [model.step(embeds[:, 21:26], state)]
    found += [model.step(embeds[:, i : i + 1], state) for i in range(26, len(ids))]
    assert_near(torch.cat(found, dim=1), wanted[:, 6:], 64)  # 20 measured


def test_a_student_round_trips_through_upstreams_form(llm_pt, upstream, utterances, tmp_path):
    teacher = read_llm_pt(llm_pt, SMALL)
    batch = collate([build_sequence(*utterances[0], SPEECH_VOCAB)], ["u"])
    student, _ = build_student(teacher, (ATTENTION, MAMBA), "calibrated", batch)
    folder = write_upstream(student, tmp_path / "student")
    again = read_upstream(folder, SMALL)
    assert again.plan == student.plan
    for name, tensor in student.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    stored, original = torch.load(folder / "llm.pt", weights_only=True), upstream.state_dict()
    missing = set(original) - set(stored)
    assert missing and all(
        name.startswith("llm.model.model.layers.1.self_attn.") for name in missing
    )
    for name, tensor in stored.items():
        assert torch.equal(tensor, original[name]), name


def test_a_teacher_round_trips_and_loads_upstream(llm_pt, upstream, tmp_path):
    folder = write_upstream(read_llm_pt(llm_pt, SMALL), tmp_path / "teacher")
    stored = torch.load(folder / "llm.pt", weights_only=True)
    upstream.load_state_dict(stored, strict=True)
    (folder / "mamba.safetensors").unlink()
    assert read_upstream(folder, SMALL).plan == (ATTENTION, ATTENTION)


def test_bf16_files_are_read_in_fp32(llm_pt, tmp_path):
    tensors = torch.load(llm_pt, weights_only=True)
    half = {n: t.bfloat16() for n, t in tensors.items() if isinstance(t, torch.Tensor)}
    torch.save(half, tmp_path / "llm.pt")
    model = read_llm_pt(tmp_path / "llm.pt", SMALL)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def damaged(llm_pt, tmp_path, change):
    tensors = torch.load(llm_pt, weights_only=True)
    change(tensors)
    torch.save(tensors, tmp_path / "llm.pt")
    return tmp_path / "llm.pt"


LAYER = "llm.model.model.layers.0."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(f"{LAYER}self_attn.k_proj.bias"), "missing tensor .*k_proj.bias"),
        (lambda t: t.update(extra=torch.zeros(2)), "unknown tensor extra"),
        (lambda t: t.update({f"{LAYER}mlp.up_proj.weight": torch.zeros(9, 896)}), "up_proj.weight"),
        (lambda t: t.update(note="hello"), "note not a tensor"),
        (lambda t: t.update({"text_encoder.x": torch.zeros(1)}), "CosyVoice 1"),
        (lambda t: t.pop("llm_embedding.weight"), "CosyVoice 3"),
        (lambda t: t.pop("speech_embedding.weight"), "missing tensor speech_embedding"),
    ],
)
def test_other_files_are_named(llm_pt, tmp_path, change, message):
    with pytest.raises(CheckpointError, match=message):
        read_llm_pt(damaged(llm_pt, tmp_path, change), SMALL)


def test_files_that_are_not_weights_are_named(llm_pt, tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        read_llm_pt(tmp_path / "llm.pt")
    (tmp_path / "llm.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    with pytest.raises(CheckpointError, match="git lfs pull"):
        read_llm_pt(tmp_path / "llm.pt")
    (tmp_path / "llm.pt").write_bytes(llm_pt.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="not a checkpoint that can be read safely"):
        read_llm_pt(tmp_path / "llm.pt")
    (tmp_path / "mamba.safetensors").write_bytes(b"0" * 20)
    with pytest.raises(CheckpointError, match="not the Mamba part"):
        read_upstream(tmp_path)


def test_the_real_geometry_has_the_published_parameter_count():
    with torch.device("meta"):
        model = SpeechLM(SIZES, (ATTENTION,) * 24, 151_936, SPEECH_VOCAB)
        hybrid = SpeechLM(SIZES, (ATTENTION, MAMBA) * 12, 151_936, SPEECH_VOCAB)
    count = sum(p.numel() for p in model.parameters())
    assert count == N_PARAMETERS
    more = sum(p.numel() for p in hybrid.parameters()) - count
    # The gate's projection and bias; dt; four taps and a bias per channel; dt_bias, A, D; norm; bias.
    assert more == 12 * (896 * 897 + 14 * 896 + 1152 * 5 + 3 * 14 + 896 + 896)
    # Seven tensors a layer, three embeddings, the last norm, the head with its bias.
    assert len(model.state_dict()) == 7 * 24 + 6


# Figure 5 of the paper: cache per stream in MB (1e6 bytes), fp32, batch 1, at 256 and 4096 tokens.
FIGURE_5 = {"1:1": (3.17, 50.72), "1:3": (1.61, 25.76), "1:5": (1.09, 17.43), "1:11": (0.57, 9.11)}
MAMBA_STATE = {"1:1": 2.97, "1:3": 4.46, "1:5": 4.96, "1:11": 5.45}


def state_bytes(ratio: str, length: int, dtype=torch.float32) -> tuple[int, int, int, int]:
    """(bytes of all KV caches, bytes of all Mamba states, attention layers, Mamba layers)."""
    plan = layer_plan(24, ratio, "blockbeg")
    with torch.device("meta"):
        model = SpeechLM(SIZES, plan, 8, SPEECH_VOCAB)
    state = model.backbone.new_state(1, length, dtype)
    sizes = [layer.num_bytes() for layer in state.layers]
    table, position = length * SIZES.head_dim * 4, 8  # one table for all layers and heads
    assert state.num_bytes() == sum(sizes) + table + position
    kv = [size for size, kind in zip(sizes, plan, strict=True) if kind == ATTENTION]
    mamba = [size for size, kind in zip(sizes, plan, strict=True) if kind == MAMBA]
    return sum(kv), sum(mamba), len(kv), len(mamba)


@pytest.mark.parametrize("ratio", FIGURE_5)
def test_the_cache_is_figure_5_without_its_bookkeeping(ratio):
    for length, published in zip((256, 4096), FIGURE_5[ratio], strict=True):
        kv, mamba, n_attention, n_mamba = state_bytes(ratio, length)
        assert kv == length * 1024 * n_attention
        # The paper counts 8 bytes per token and Mamba layer that nothing needs.
        assert (kv + 8 * length * n_mamba) / 1e6 == pytest.approx(published, abs=0.006)
        # One input of the convolution less than the paper's four: the newest is not kept.
        assert mamba == n_mamba * 243_200 and 243_200 < 247_808
        assert n_mamba * 247_808 / 1e6 == pytest.approx(MAMBA_STATE[ratio], abs=0.006)


def test_half_precision_halves_the_cache_but_not_the_ssm_state():
    kv, mamba, n_attention, n_mamba = state_bytes("1:3", 512, torch.bfloat16)
    assert kv == 512 * 512 * n_attention
    assert mamba == n_mamba * (14 * 64 * 64 * 4 + 3 * 1152 * 2)
