"""A MambaVoiceCloning model as a system of an evaluation, beside a language model; bad input is named."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from eval.store.files import InputError
from eval.synthesis.build import build_systems, name_systems
from eval.synthesis.mvc_voicer import MVCVoicer
from eval.synthesis.systems import code_version
from eval.testset import one_item, read_meta
from mamtra.lm.checkpoint import CheckpointError
from mamtra.mvc.folder import save_mvc
from mamtra.mvc.model import build
from mamtra.mvc_tts import MVCSynthesizer
from mamtra.speech.codec import CodecNetwork
from mamtra.speech.mini_codec import MiniCodec, save_codec
from mamtra.speech.vocoder import Vocoder
from mamtra.text.phonemes import SYMBOLS
from tests.small_mvc import SMALLEST

NETWORK = {
    "width": 8,
    "fine_width": 8,
    "levels": [8, 5, 5, 5],
    "n_encoder_blocks": 1,
    "n_decoder_blocks": 1,
    "n_fine_blocks": 1,
}
SIZES = replace(SMALLEST, vocab=len(SYMBOLS), d_voice=256, reference="both")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a codec, models, a prompt and a list; every token of a text takes a tenth of a second."""
    folder = tmp_path_factory.mktemp("mvc")
    torch.manual_seed(0)
    vocoder = {"width": 8, "n_blocks": 1}
    codec = MiniCodec(CodecNetwork(**NETWORK), Vocoder(**vocoder))
    save_codec(folder, codec, {"network": NETWORK, "vocoder": vocoder}, {}, "phonemes")
    for arm in ("mvc", "leak"):
        model = build(SIZES, arm)
        with torch.no_grad():
            model.rhythm.duration.weight.zero_()
            model.rhythm.duration.bias.fill_(2.4)
        save_mvc(folder / arm, model, {"steps": 0})
    t = np.arange(24_000) / 16_000
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20))
    soundfile.write(folder / "p.wav", 0.1 * buzz, 16_000)
    (folder / "meta.lst").write_text("a|hi there|p.wav|Go on.\nb|hi there|p.wav|Stop, please.\n")
    return folder


def made(world, tmp_path, models, items=None, **options):
    given = {"codec_folder": world, "seed_index": 0, "sampling": {}, "device": "cpu"}
    return build_systems(
        name_systems(models), items or read_meta(world / "meta.lst"), tmp_path, **given | options
    )


def test_it_speaks_every_item_the_same_alone_and_in_a_batch(world, tmp_path):
    [system] = made(world, tmp_path, {"mvc": str(world / "mvc")}, batch=2)
    voicer = system.voicer
    assert isinstance(voicer, MVCVoicer) and voicer.batch == 2
    both = voicer.say(system.items)
    alone = voicer.say(system.items[1:])
    assert [one.n_tokens for one in both] == [None, None] and both[0].lm_s and both[0].vocode_s
    assert both[0].wave.size > 4000 and np.isfinite(both[0].wave).all()
    # A network on random weights amplifies rounding; the frames before it agree to 1e-5.
    np.testing.assert_allclose(alone[0].wave, both[1].wave, atol=2e-3)
    card = voicer.card()
    assert card["kind"] == card["arm"] == "mvc" and card["n_parameters"] > 0
    sampling = {"n_steps": 5, "temperature": 1.0, "pace": 1.0, "split": True}
    assert voicer.recipe()["sampling"] == sampling


def test_seeds_and_options_change_the_recipe_and_the_prompt_the_inputs(world, tmp_path):
    first, second, third = (
        made(world, tmp_path, str(world / "mvc"), **o)[0].voicer.recipe()
        for o in ({}, {"seed_index": 1}, {"sampling": {"n_steps": 0}})
    )
    assert first != second and first != third and third["sampling"]["n_steps"] == 0
    assert first["code"] != code_version()
    # A list with other words or another prompt is another input.
    [system] = made(world, tmp_path, str(world / "mvc"))
    assert len({system.voicer.inputs(item) for item in system.items}) == 2


@pytest.mark.parametrize("text", ["...", "你好", "12 ☃"])
def test_texts_that_cannot_be_spoken_are_named(world, tmp_path, text):
    items = one_item(text, str(world / "p.wav"), None)
    with pytest.raises(InputError, match="text="):
        made(world, tmp_path, str(world / "mvc"), items)


def test_bad_folders_options_and_codecs_are_named(world, tmp_path):
    with pytest.raises(InputError, match="reads its target cannot speak"):
        made(world, tmp_path, str(world / "leak"))
    with pytest.raises(InputError, match="no such option top_q; valid: n_steps"):
        made(world, tmp_path, str(world / "mvc"), sampling={"top_q": 1})
    with pytest.raises(InputError, match="no codec in"):
        made(world, tmp_path, str(world / "mvc"), codec_folder=tmp_path)
    items = [replace(item, prompt_wav=None) for item in read_meta(world / "meta.lst")]
    with pytest.raises(InputError, match="needs a prompt wav"):
        made(world, tmp_path, str(world / "mvc"), items)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.json").write_text('{"format": "mamtra-mvc-1", "arm": "mvc"}')
    with pytest.raises(CheckpointError, match="missing provenance, sha256, sizes"):
        made(world, tmp_path, str(broken))


def test_prompts_that_are_no_voice_are_refused(world):
    tts = MVCSynthesizer.load(world / "mvc", world)
    with pytest.raises(ValueError, match="audible"):
        tts.voice(torch.zeros(16_000))
    with pytest.raises(ValueError, match=r"at least 0\.5 s"):
        tts.voice(torch.ones(1000))


def test_a_long_text_is_cut_and_joined_or_said_in_one_go(world):
    tts = MVCSynthesizer.load(world / "mvc", world)
    wave, _ = soundfile.read(world / "p.wav", dtype="float32")
    voice = tts.voice(torch.from_numpy(wave))
    text = "The garden was quiet. " * 250  # 5,500 characters
    spoken = tts.speak(text[:66], voice, 1, n_steps=0)
    whole = tts.speak(text[:66], voice, 1, n_steps=0, split=False)
    assert len(spoken.durations) == 3 and len(whole.durations) == 1
    assert len(spoken.wave) == 160 * sum(int(d.sum()) for d in spoken.durations)
    assert len(tts.pieces(text)) == 250
