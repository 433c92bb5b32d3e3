"""The peers of stage=efficiency: transformers with our weights computes what our model does."""

import pytest
import torch

from eval.efficiency.granite_peer import TimedGranite
from eval.efficiency.models import TimedModel, made_up_text
from eval.efficiency.peers import COSYVOICE2, NO_TEXT_HEAD, TimedPeer, qwen2
from eval.store.files import InputError
from mamtra.backbone.layer_plan import parse_plan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import load_lm
from mamtra.lm.sequence import KIND_SPEECH, build_prompt
from mamtra.lm.speech_lm import SpeechLM
from tests.near import assert_near


def peer_logits(model, lm, ids, kinds):
    inner = model(inputs_embeds=lm.embed(ids, kinds), output_hidden_states=True)
    return lm.llm_decoder(inner.hidden_states[-1])


@pytest.mark.parametrize("kind", [COSYVOICE2, NO_TEXT_HEAD])
def test_a_peer_computes_what_our_model_does(tiny_world, kind):
    """Its weights are ours: the same logits over a prompt, and a new token's from its cache."""
    lm = load_lm(tiny_world / "teacher")
    text, speech = made_up_text(lm, 40, seed=0)
    ids, kinds = (part[None] for part in build_prompt(text, speech))
    model = qwen2(lm, text_head=kind == COSYVOICE2)
    with torch.inference_mode():
        expected = lm(lm.embed(ids, kinds)).logits
        assert_near(peer_logits(model, lm, ids, kinds), expected, 64)
    peer = TimedPeer(lm, kind)
    asked = []
    peer.lm.llm_decoder.register_forward_hook(
        lambda _, inputs, output: asked.append(output.clone())
    )
    (token,), (second,) = peer.speak(40, 2, 1)
    more = torch.cat((ids, torch.tensor([[token]])), dim=1)
    more_kinds = torch.cat((kinds, torch.tensor([[KIND_SPEECH]])), dim=1)
    with torch.inference_mode():
        whole = lm(lm.embed(more, more_kinds)).logits[0, -1]
    stepped = asked[1].flatten()[: lm.speech_vocab]  # the stop tokens are banned after the head
    assert_near(stepped, whole[: lm.speech_vocab], 64)
    assert 0 <= second < lm.speech_vocab


@pytest.mark.parametrize("prefill", [True, False])
@pytest.mark.parametrize("kind", [COSYVOICE2, NO_TEXT_HEAD])
def test_a_peer_speaks_as_many_tokens_as_asked(tiny_world, kind, prefill):
    lm = load_lm(tiny_world / "teacher")
    peer, ours = TimedPeer(lm, kind, prefill), TimedModel(lm, prefill=prefill)
    assert [len(step) for step in peer.speak(16, 5, 3)] == [3] * 5
    assert all(0 <= token < lm.speech_vocab for step in peer.speak(16, 5, 2) for token in step)
    head = lm.text_embedding.weight.nbytes if kind == COSYVOICE2 else 0
    assert peer.step_bytes(16, 1) == ours.step_bytes(16, 1) + head
    assert peer.weight_bytes == ours.weight_bytes


@pytest.mark.parametrize("kind", ["mamba", "deltanet"])
def test_a_plan_with_other_layers_has_no_peer(tiny_world, kind):
    sizes = load_lm(tiny_world / "teacher").sizes
    hybrid = SpeechLM(sizes, ("attention",) + (kind,) * (sizes.n_layers - 1), 20, 30)
    with pytest.raises(InputError, match="all attention"):
        TimedPeer(hybrid, NO_TEXT_HEAD)


def a_hybrid(letters="AMAM", **more):
    torch.manual_seed(0)
    sizes = BackboneSizes(32, 4, 4, 2, 8, 48, text_rate=0.5, **more)
    return SpeechLM(sizes, parse_plan(letters), 20, 30).eval()


def test_granite_computes_what_our_hybrid_does():
    lm = a_hybrid()
    asked, peer = [], TimedGranite(lm)
    lm.llm_decoder.register_forward_hook(lambda _, inputs, output: asked.append(output.clone()))
    (token,), _ = peer.speak(24, 2, 1)
    ids, kinds = (part[None] for part in build_prompt(*made_up_text(lm, 24, seed=0)))
    more = torch.cat((ids, torch.tensor([[token]])), dim=1)
    more_kinds = torch.cat((kinds, torch.tensor([[KIND_SPEECH]])), dim=1)
    with torch.inference_mode():
        whole = lm(lm.embed(more, more_kinds)).logits[0, -1]
    stepped = asked[1].flatten()[: lm.speech_vocab]
    assert_near(stepped, whole[: lm.speech_vocab], 64)


def test_granite_counts_what_it_holds():
    lm = a_hybrid()
    peer, held = TimedGranite(lm), 0
    cache = peer.new_cache()
    peer.new_cache = lambda: cache
    assert [len(step) for step in peer.speak(24, 3, 2)] == [2] * 3
    for layer in cache.layers:
        for value in vars(layer).values():
            values = value if isinstance(value, dict | list | tuple) else [value]
            values = values.values() if isinstance(values, dict) else values
            held += sum(one.nbytes for one in values if isinstance(one, torch.Tensor))
    assert peer.state_bytes(24 + 2, 2) == held  # the last token is drawn and not fed
    assert peer.weight_bytes > sum(p.nbytes for p in lm.parameters())


def test_what_granite_cannot_be_is_said():
    with pytest.raises(InputError, match="prefill=false"):
        TimedGranite(a_hybrid(), prefill=False)
    with pytest.raises(InputError, match="attention and Mamba"):
        TimedGranite(a_hybrid("AAAA"))
    with pytest.raises(InputError, match="state_dtype=bf16"):
        TimedGranite(a_hybrid(state_dtype="bf16"))
