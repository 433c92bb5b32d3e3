"""Export, golden file and import: through transformers' own classes, on random models of every plan."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mamtra.backbone.layer_plan import parse_plan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import CheckpointError, load_lm, model_sha256, save_lm
from mamtra.lm.generate import generate
from mamtra.lm.sampling import Sampling, sample
from mamtra.lm.sequence import build_prompt
from mamtra.lm.speech_lm import SpeechLM
from mamtra.text.characters import CharacterTokenizer
from mamtra.transfer.granite import NoCounterpart
from tools import check_hf, export_hf, import_hf
from tools.hf import golden
from tools.hf.files import CARD, CONFIG, GENERATION, GOLDEN, OURS, WEIGHTS, ExportError
from tools.hf.golden import LIMIT

ASSETS = Path(__file__).parents[2] / "assets/mini"
SIZES = BackboneSizes(32, 4, 4, 2, 8, 48, rope_theta=1e4, norm_eps=1e-5, chunk=8)
CODES, TEXT = 1000, CharacterTokenizer().vocab_size
EXPORTS = [("AAAA", "ids"), ("AMAM", "ids"), ("MMMM", "embeds")]


def random_lm(letters, sizes=SIZES):
    """Every tensor is random, biases, norms and decays included."""
    torch.manual_seed(0)
    lm = SpeechLM(sizes, parse_plan(letters), TEXT, CODES).eval()
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return lm


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny_world):
    """(letters, inputs) -> folder with `model` and `hf`, made once."""
    pytest.importorskip("transformers")
    made = {}

    def make(letters, inputs, **changes):
        key = (letters, inputs, *changes.items())
        if key not in made:
            home = made[key] = tmp_path_factory.mktemp(f"{letters}-{inputs}")
            lm = random_lm(letters, replace(SIZES, **changes))
            save_lm(home / "model", lm, {"made": "at random"})
            export_hf.export(home / "model", tiny_world, home / "hf", inputs)
        return made[key]

    return make


def auto(home):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(home / "hf").eval()


@pytest.mark.parametrize(("letters", "inputs"), EXPORTS)
def test_300_steps_through_transformers_cache_are_ours(exported, letters, inputs):
    found = check_hf.check(exported(letters, inputs) / "hf")
    assert len(found) >= 4 + 4 + 8 + (2 if inputs == "ids" else 0)
    assert max(found.values()) < LIMIT


@pytest.mark.parametrize(("letters", "inputs"), EXPORTS)
def test_back_come_the_very_files(exported, tmp_path, letters, inputs):
    home = exported(letters, inputs)
    back = import_hf.import_hf(home / "hf", tmp_path / "back")
    assert model_sha256(back) == model_sha256(home / "model")


@pytest.mark.parametrize("letters", ["AAAA", "AMAM"])
def test_generate_draws_our_greedy_tokens(exported, letters):
    home = exported(letters, "ids")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(home / "hf")
    text, speech = "we met at noon.", [7, 999, 0]
    prompt = tokenizer(
        f"<|sos|>{text}<|task_id|>" + "".join(f"<|s_{i}|>" for i in speech), return_tensors="pt"
    ).input_ids
    ids = CharacterTokenizer().encode(text)
    assert prompt[0].tolist() == [
        TEXT + CODES + 3,
        *ids,
        TEXT + CODES + 4,
        *(TEXT + i for i in speech),
    ]
    expected = greedy(load_lm(home / "model"), ids, speech, 40)
    found = auto(home).generate(prompt, do_sample=False, max_new_tokens=40)[0, prompt.shape[1] :]
    found = [i - TEXT for i in found.tolist()]
    assert found[: len(expected)] == expected
    assert len(found) == 40 or found[len(expected)] >= CODES


def greedy(lm, ids, speech, most):
    settings = {"top_k": 1, "window": 0, "min_ratio": 0.0, "max_ratio": most / len(ids)}
    return generate(lm, ids, speech, torch.Generator(), **settings).tokens


def code_of(home, monkeypatch):
    """What the card's Python block defines, run where the card lies."""
    block = re.search(r"```python\n(.*?)```", (home / "hf" / CARD).read_text(), re.DOTALL)
    assert block
    monkeypatch.chdir(home / "hf")
    monkeypatch.syspath_prepend(str(home / "hf"))
    for name in ("sampler", "embed"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    names = {}
    exec(compile(block[1], CARD, "exec"), names)
    return names


def our_speech(lm, ids, speech, fewest, most, seed):
    """The plain loop of our own sampling, with the card's random numbers."""
    rng, tokens = np.random.default_rng(seed), []
    while len(tokens) < most:
        prompt, kinds = build_prompt(ids, [*speech, *tokens])
        logits = lm(lm.embed(prompt[None], kinds[None])).logits[:, -1]
        if len(tokens) < fewest:
            logits[:, CODES:] = float("-inf")
        recent = torch.tensor([tokens[-10:]], dtype=torch.int64)
        drawn = sample(logits, recent, torch.from_numpy(rng.random(2))[None], Sampling())
        if drawn >= CODES:
            break
        tokens.append(int(drawn))
    return tokens


@pytest.mark.parametrize(
    ("letters", "inputs", "changes"),
    [("AMAM", "ids", {}), ("AMAM", "embeds", {}), ("AMAM", "embeds", {"text_rate": 0.75})],
)
@torch.no_grad()
def test_the_cards_recipe_speaks_as_we_do(exported, monkeypatch, letters, inputs, changes):
    home = exported(letters, inputs, **changes)
    speak = code_of(home, monkeypatch)["speak"]
    ids = [i for text in ("we met.", "at noon.") for i in CharacterTokenizer().encode(text)]
    expected = our_speech(load_lm(home / "model"), ids, [3, 4], 20, 30, seed=5)
    assert len(expected) >= 20
    assert speak("we met.", "at noon.", [3, 4], 20, 30, seed=5) == expected


@pytest.mark.weights
def test_the_shipped_teachers_greedy_tokens(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    monkeypatch.setattr(golden, "N_STEPS", 2)  # another test's matter
    with pytest.raises(NoCounterpart, match=r"text_rate=0\.75.*inputs=embeds"):
        export_hf.export(ASSETS / "teacher", ASSETS, tmp_path / "hf", "ids")
    export_hf.export(ASSETS / "teacher", ASSETS, tmp_path / "hf", "embeds")
    monkeypatch.syspath_prepend(str(tmp_path / "hf"))
    monkeypatch.delitem(sys.modules, "embed", raising=False)
    import embed

    inputs = embed.Inputs(tmp_path / "hf")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    ids = CharacterTokenizer().encode("we met at noon. my brother painted the old bridge.")
    speech = torch.randint(1000, (30,), generator=torch.Generator().manual_seed(0)).tolist()
    expected = greedy(load_lm(ASSETS / "teacher"), ids, speech, 60)
    assert len(set(expected)) > 20
    tokens, cache, embeds = [], None, inputs.prompt(ids, speech)
    with torch.inference_mode():
        while len(tokens) < len(expected):
            out = model(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
            cache, token = out.past_key_values, int((out.logits[0, -1] + inputs.bias).argmax())
            embeds = inputs.speech(token, len(speech) + len(tokens))
            tokens.append(token)
    assert tokens == expected


def test_a_golden_file_of_other_weights_is_refused(exported, tmp_path):
    home = copied(exported("AMAM", "embeds") / "hf", tmp_path)
    tensors = load_file(home / WEIGHTS)
    tensors["lm_head.weight"][0, 0] += 1
    save_file(tensors, home / WEIGHTS)
    with pytest.raises(ExportError, match="golden file of other weights"):
        check_hf.check(home)
    (home / GOLDEN).unlink()
    with pytest.raises(ExportError, match=rf"{GOLDEN}: no such file"):
        check_hf.check(home)


def test_the_check_sees_one_wrong_weight(exported, tmp_path):
    from tools.hf.files import sha256

    home = copied(exported("AMAM", "embeds") / "hf", tmp_path)
    tensors, before = load_file(home / WEIGHTS), load_file(home / GOLDEN)
    tensors["model.layers.1.mamba.A_log"][2] += 0.1
    save_file(tensors, home / WEIGHTS)
    save_file(before, home / GOLDEN, {"weights": sha256(home / WEIGHTS)})
    found = check_hf.check(home)
    assert found["prompt.layers.0"] < LIMIT < min(found["prompt.layers.1"], found["state.1.ssm"])


def copied(folder, tmp_path):
    import shutil

    return shutil.copytree(folder, tmp_path / "copy")


def test_weights_trained_further_come_back_in_fp32(exported, tmp_path):
    home = exported("AMAM", "ids")
    folder = copied(home / "hf", tmp_path)
    tensors = load_file(folder / WEIGHTS)
    tensors["model.norm.weight"][0] += 1
    save_file(tensors, folder / WEIGHTS)
    back = import_hf.import_hf(folder, tmp_path / "back")
    before, after = load_lm(home / "model").state_dict(), load_lm(back).state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == ["backbone.norm.weight"]
    provenance = json.loads((back / "model.json").read_text())["provenance"]
    assert provenance["exported_from"] == {"made": "at random"}


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda home: (home / OURS).unlink(), rf"{OURS}: no such file"),
        (lambda home: (home / OURS).write_text('{"format": "x"}'), "format 'x'"),
        (
            lambda home: (home / CONFIG).write_text('{"model_type": "llama"}'),
            "'llama', not granite",
        ),
        (lambda home: (home / CONFIG).write_text("{"), "not readable as JSON"),
        (lambda home: describe(home, weights=None), f"{OURS}: missing weights"),
        (lambda home: describe(home, model={"sizes": {"d_model": 3}}), "not the description"),
        (lambda home: (home / WEIGHTS).unlink(), rf"{WEIGHTS}: no such file"),
        (lambda home: (home / WEIGHTS).write_bytes(b"x"), "not a safetensors file"),
        (lambda home: without(home, "model.layers.3.mamba.D"), r"layers\.3\.mamba\.D' is missing"),
    ],
)
def test_what_is_no_export_is_refused(exported, tmp_path, spoil, why):
    home = copied(exported("AMAM", "embeds") / "hf", tmp_path)
    spoil(home)
    with pytest.raises(ExportError, match=why):
        import_hf.import_hf(home, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def describe(home, **changes):
    found = json.loads((home / OURS).read_text()) | changes
    kept = {key: value for key, value in found.items() if value is not None}
    (home / OURS).write_text(json.dumps(kept))


def without(home, name):
    tensors = load_file(home / WEIGHTS)
    del tensors[name]
    save_file(tensors, home / WEIGHTS)


def test_what_cannot_be_exported(tmp_path, tiny_world, monkeypatch):
    out = tmp_path / "hf"
    with pytest.raises(CheckpointError, match="no such file"):
        export_hf.export(tmp_path / "none", tiny_world, out)
    save_lm(tmp_path / "rope", random_lm("AM" * 2, replace(SIZES, mamba_rope=True)), {})
    with pytest.raises(NoCounterpart, match="mamba_rope=True"):
        export_hf.export(tmp_path / "rope", tiny_world, out)
    save_lm(tmp_path / "other", SpeechLM(SIZES, parse_plan("AAAA"), 77, CODES), {})
    with pytest.raises(ValueError, match=r"has 32 ids, the model was made for 77.*codec="):
        export_hf.export(tmp_path / "other", tiny_world, out)
    save_lm(tmp_path / "model", random_lm("AAAA"), {})
    with pytest.raises(ExportError, match="inputs=both: valid are ids and embeds"):
        export_hf.export(tmp_path / "model", tiny_world, out, "both")
    assert not out.exists()
    with pytest.raises(FileExistsError, match="is not empty"):
        export_hf.export(tmp_path / "model", tiny_world, tmp_path)
    given = {"model": tmp_path / "none", "codec": tiny_world, "out": out}
    monkeypatch.setattr("sys.argv", ["x", *(f"{k}={v}" for k, v in given.items())])
    with pytest.raises(SystemExit, match="error: "):
        export_hf.main()


def test_the_generation_config_bans_text(exported):
    found = json.loads((exported("AAAA", "ids") / "hf" / GENERATION).read_text())
    speech = {i for (i,), _ in found["sequence_bias"]}
    assert speech == set(range(TEXT, TEXT + CODES + 3))
    vocabulary = json.loads((exported("AAAA", "ids") / "hf" / CONFIG).read_text())["vocab_size"]
    assert set(found["suppress_tokens"]) == set(range(vocabulary)) - speech
