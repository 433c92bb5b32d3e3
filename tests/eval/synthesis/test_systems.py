"""What the systems under test depend on: the device that is asked, seeds by utterance."""

from dataclasses import replace

from eval.synthesis.build import build_systems, name_systems
from eval.synthesis.systems import stable_seed
from eval.testset import read_meta
from mamtra.systems import system_of


def test_the_codec_is_loaded_on_the_device_that_is_asked(tiny_world, tmp_path, monkeypatch):
    asked = []
    system = replace(system_of(tiny_world), load_codec=lambda folder, device: asked.append(device))
    monkeypatch.setattr("eval.synthesis.systems.system_of", lambda folder: system)
    listed = read_meta(tiny_world / "meta.lst")
    items = [replace(item, recording=item.prompt_wav) for item in listed]
    options = {"codec_folder": tiny_world, "seed_index": 0, "sampling": {}, "device": "cuda:1"}
    [codec] = build_systems(name_systems("codec"), items, tmp_path, **options)
    codec.voicer.load()
    assert asked == ["cuda:1"]


def test_seeds_depend_on_utterance_and_index_only():
    assert stable_seed("a", 0) == stable_seed("a", 0) != stable_seed("a", 1)
    assert stable_seed("a", 0) == 4007838831366158568
