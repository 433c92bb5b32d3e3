"""Synthesis, cross-entropy and the command line on a tiny random model: plumbing, not quality."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from rich.console import Console

from eval.store.database import Store
from eval.store.files import InputError, sha256_json
from eval.synthesis.build import build_systems, name_systems
from eval.synthesis.cross_entropy import cross_entropy, derangement, read_held_out
from eval.synthesis.model_voicer import ModelVoicer
from eval.synthesis.synthesize import synthesize
from eval.testset import one_item, read_meta
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import load_lm, save_lm
from mamtra.lm.speech_lm import SpeechLM
from mamtra.speech.codec import CodecNetwork
from mamtra.speech.mini_codec import MiniCodec, save_codec
from mamtra.speech.vocoder import Vocoder
from mamtra.text.characters import CharacterTokenizer

QUIET = Console(quiet=True)
ROOT = Path(__file__).resolve().parents[2]
NETWORK = {
    "width": 8,
    "fine_width": 8,
    "levels": [8, 5, 5, 5],
    "n_encoder_blocks": 1,
    "n_decoder_blocks": 1,
    "n_fine_blocks": 1,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a codec, a model, a prompt, a recording and a two-line test set."""
    folder = tmp_path_factory.mktemp("world")
    torch.manual_seed(0)
    vocoder = {"width": 8, "n_blocks": 1}
    codec = MiniCodec(CodecNetwork(**NETWORK), Vocoder(**vocoder))
    save_codec(folder, codec, {"network": NETWORK, "vocoder": vocoder}, {})
    sizes = BackboneSizes(
        d_model=16, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=16, text_rate=0.75
    )
    lm = SpeechLM(sizes, ("attention", "mamba"), CharacterTokenizer().vocab_size, 1000)
    save_lm(folder / "model", lm, {})
    rng = np.random.default_rng(0)
    soundfile.write(folder / "p.wav", 0.1 * rng.standard_normal(16000), 16000)
    soundfile.write(folder / "r.wav", 0.1 * rng.standard_normal(8000), 16000)
    (folder / "meta.lst").write_text(
        "a|hi there|p.wav|go on|r.wav\nb|hi there|p.wav|stop|none.wav\n"
    )
    return folder


def systems(world, out, models, sampling=None, seed_index=0):
    return build_systems(
        name_systems(models),
        read_meta(world / "meta.lst"),
        out,
        codec_folder=world,
        seed_index=seed_index,
        sampling=sampling or {},
        device="cpu",
    )


def say(these, out):
    """Synthesis of all systems; name -> rows."""
    store = Store(out)
    made = {
        one.name: synthesize(one.items, one.voicer, store, name=one.name, console=QUIET)
        for one in these
    }
    store.close()
    return made


def test_a_second_synthesis_reuses_and_a_changed_setting_does_not(world, tmp_path, monkeypatch):
    said = []
    original = ModelVoicer.say
    monkeypatch.setattr(
        ModelVoicer,
        "say",
        lambda self, items: (said.extend(i.utterance for i in items), original(self, items))[1],
    )
    models = {"m": str(world / "model")}

    def run(**changes):
        said.clear()
        say(systems(world, tmp_path, models, **changes), tmp_path)
        return list(said)

    assert run() == ["a", "b"]
    first = {p.name: p.read_bytes() for p in (tmp_path / "m" / "wavs").iterdir()}
    assert run() == []
    (tmp_path / "m" / "wavs" / "a.wav").write_bytes(b"damaged")
    assert run() == ["a"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "m" / "wavs").iterdir()} == first
    assert run(sampling={"temperature": 0.5}) == ["a", "b"]
    assert run(seed_index=1) == ["a", "b"]


def batched(world, out, batch):
    """Synthesises the two items with one model in batches of `batch`; its rows."""
    items = read_meta(world / "meta.lst")
    voicer = ModelVoicer(world / "model", world, 0, {}, "cpu", batch)
    return synthesize(items, voicer, Store(out), name="m", console=QUIET)


def test_a_batch_speaks_as_single_items_do(world, tmp_path):
    alone, together = (batched(world, tmp_path / str(n), n) for n in (1, 2))
    assert [row["utterance"] for row in together] == ["a", "b"]
    for one, other in zip(alone, together, strict=True):
        assert one["n_tokens"] == other["n_tokens"] and one["inputs"] == other["inputs"]
        a, b = (soundfile.read(tmp_path / n / f"m/wavs/{one['utterance']}.wav")[0] for n in "12")
        assert np.abs(a - b).max() < 1e-3


def test_one_bad_item_of_a_batch_fails_alone(world, tmp_path, monkeypatch):
    original = ModelVoicer.say

    def say(self, items):
        if any(item.utterance == "a" for item in items):
            raise RuntimeError("cannot say a")
        return original(self, items)

    monkeypatch.setattr(ModelVoicer, "say", say)
    bad, good = batched(world, tmp_path, 2)
    assert (bad["status"], bad["error"]) == ("error", "RuntimeError: cannot say a")
    assert good["status"] == "ok" and not (tmp_path / "m/wavs/a.wav").exists()


def test_what_a_model_cannot_say_is_one_row_of_its_batch(world, tmp_path, monkeypatch):
    original, batches = ModelVoicer.say, []

    def say(self, items):
        batches.append(len(items))
        pairs = zip(items, original(self, items), strict=True)
        return [
            replace(one, wave=one.wave[:0], error="nothing drawn") if item.utterance == "a" else one
            for item, one in pairs
        ]

    monkeypatch.setattr(ModelVoicer, "say", say)
    bad, good = batched(world, tmp_path, 2)
    assert (bad["status"], bad["error"]) == ("error", "ValueError: nothing drawn")
    assert good["status"] == "ok" and batches == [2], "nothing is decoded twice"


def test_what_ran_is_said_and_kept(world, tmp_path):
    said = io.StringIO()
    voicer = ModelVoicer(world / "model", world, 0, {}, "cpu")
    store = Store(tmp_path)
    for _ in range(2):
        synthesize(
            read_meta(world / "meta.lst"), voicer, store, name="m", console=Console(file=said)
        )
    assert said.getvalue().count("m: model on cpu, fp32, plain steps, ssd torch") == 1
    card = store.card("m", sha256_json(voicer.recipe()))
    assert card["runtime"] == {"device": "cpu", "dtype": "fp32", "steps": "plain", "ssd": "torch"}


def test_recordings_and_codec_are_asked_only_where_a_recording_exists(world, tmp_path):
    these = systems(world, tmp_path, {"recordings": "recordings", "codec": "codec"})
    made = say(these, tmp_path)
    floor, _ = soundfile.read(tmp_path / "recordings" / "wavs" / "a.wav")
    original, _ = soundfile.read(world / "r.wav")
    assert np.abs(floor - original).max() < 1e-4
    assert [row["utterance"] for row in made["codec"]] == ["a"]


def test_bad_inputs_stop_before_a_model_loads(world, tmp_path):
    with pytest.raises(InputError, match="no such model folder"):
        systems(world, tmp_path, {"m": str(world / "nowhere")})
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"model\.safetensors is missing"):
        systems(world, tmp_path, {"m": str(tmp_path / "empty")})
    (world / "odd.lst").write_text("a|hi|p.wav|naïve|r.wav\n")
    with pytest.raises(InputError, match="line 1, utterance 'a': character 'ï'"):
        build_systems(
            name_systems({"m": str(world / "model")}),
            read_meta(world / "odd.lst"),
            tmp_path,
            codec_folder=world,
            seed_index=0,
            sampling={},
            device="cpu",
        )


def test_names_of_systems():
    names = name_systems(["runs/x/student", "codec"], {"F5": "/f5"})
    assert names.models == {"x-student": "runs/x/student", "codec": "codec"}
    assert names.wavs == {"F5": "/f5"}
    assert name_systems(None, "/w/My TTS [zh]").wavs == {"My TTS [zh]": "/w/My TTS [zh]"}
    assert name_systems("teacher", "/w", "ours").wavs == {"ours": "/w"}
    with pytest.raises(InputError, match="two systems would be called 'x'"):
        name_systems(["a/x"], ["b/x"])
    with pytest.raises(InputError, match="name= names the one folder"):
        name_systems(None, ["a", "b"], "n")
    with pytest.raises(InputError, match="two systems"):
        name_systems(["a/teacher", "b/teacher"])
    with pytest.raises(InputError, match="no system given"):
        name_systems([])
    with pytest.raises(InputError, match="plain folder name"):
        name_systems({"../x": "codec"})


def test_cross_entropy_counts_the_targets_own_tokens_and_the_end(world, tmp_path):
    rng = np.random.default_rng(0)
    rows = [("p", "prompt", "hi", 5), ("a", "test", "go on", 7), ("b", "test", "stop", 3)]
    table = pd.DataFrame(
        [
            {
                "utterance": u,
                "split": s,
                "text": t,
                "voice": "v",
                "tokens": rng.integers(0, 1000, n),
            }
            for u, s, t, n in rows
        ]
    )
    table.to_parquet(tmp_path / "tokens.parquet")
    held_out = read_held_out(tmp_path / "tokens.parquet")
    lm = load_lm(world / "model")
    result = cross_entropy(lm, held_out, name="m", console=QUIET)
    assert (result.n_tokens, result.n_utterances) == (7 + 1 + 3 + 1, 2)
    assert result.nats_per_token == pytest.approx(np.log(1003), abs=0.5)
    shown = Console(file=io.StringIO())
    alone = cross_entropy(lm, held_out, name="[/m]", console=shown, max_tokens=1)
    assert "[/m]: cross-entropy" in shown.file.getvalue()
    # fp32 sums of the same 12 logarithms in another order: some ulp of about 7 nats.
    assert alone.nats_per_token == pytest.approx(result.nats_per_token, rel=1e-6)
    assert all(i != j for i, j in enumerate(derangement(50, 3)))


def test_one_sentence_from_the_command_line(world, tmp_path):
    command = [
        sys.executable,
        str(ROOT / "evaluate.py"),
        f"model={world}/model",
        "stage=synthesize",
    ]
    command += [f"out={tmp_path}", f"system.codec={world}", "text=go on", "testset.meta=nowhere"]
    prompt = ROOT / "assets/mini/prompts/prompt-v30-1.flac"
    done = subprocess.run(
        [*command, f"prompt={prompt}", "prompt_text=hi there"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    wave, rate_hz = soundfile.read(tmp_path / "model/wavs/speech.wav")
    assert len(wave) and rate_hz == 16_000
    assert f"{tmp_path}/model/wavs" in done.stdout.replace("\n", "")
    for more, message in (
        ([], "text= needs prompt="),
        ([f"prompt={world}/none.wav"], "no such file"),
        ([f"prompt={world}/p.wav"], "in the prompt nobody speaks"),
        ([f"prompt={prompt}"], "prompt_text=: zero-shot synthesis needs"),
        ([f"prompt={prompt}", "prompt_text=hi", "text=go 😀"], "text=: character '😀'"),
        ([f"prompt={prompt}", "prompt_text=hi", "text=Где ключи?"], "text=: character 'Г'"),
    ):
        done = subprocess.run([*command, *more], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 2 and message in done.stdout


def test_cross_lingual_needs_no_prompt_text(world, tmp_path):
    items = one_item("go on", world / "p.wav", None)
    options = {"codec_folder": world, "seed_index": 0, "sampling": {}, "device": "cpu"}
    models = name_systems({"m": str(world / "model")})
    with pytest.raises(InputError, match="needs a prompt wav and a prompt text"):
        build_systems(models, items, tmp_path, **options)
    [system] = build_systems(models, items, tmp_path, cross_lingual=True, **options)
    [row] = synthesize(items, system.voicer, Store(tmp_path), name="m", console=QUIET)
    assert row["status"] == "ok" and system.recipe()["cross_lingual"]
    with pytest.raises(InputError, match="text= is empty"):
        one_item(" ", world / "p.wav", None)


def test_command_line_errors_are_one_message_without_traceback(world, tmp_path):
    command = [sys.executable, str(ROOT / "evaluate.py"), f"testset.meta={world}/meta.lst"]
    command += ["model=nowhere", f"out={tmp_path}", f"system.codec={world}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 2
    assert "no such model folder: nowhere" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
