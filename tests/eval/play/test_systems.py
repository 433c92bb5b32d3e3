"""Which models the page offers."""

import pytest

from eval.play.stage import shipped_voices
from eval.play.systems import Systems, find_models
from eval.store.files import InputError
from eval.testset import read_meta
from tests.eval.play.conftest import student


def test_the_teacher_and_every_whole_student_of_its_system_are_found(tiny_world, runs):
    found = find_models(None, tiny_world, runs)
    assert list(found) == ["teacher", "b", "grid/1to1"]
    systems = Systems(found, tiny_world, "cpu")
    assert systems.plans["b"] == ["attention", "mamba"]
    assert systems.synthesizer("b").codec is systems.synthesizer("teacher").codec
    assert systems.synthesizer("b") is systems.synthesizer("b"), "loaded once"


def test_without_any_student_there_is_the_teacher(tiny_world, tmp_path):
    assert list(find_models(None, tiny_world, tmp_path / "none")) == ["teacher"]


def test_those_that_are_given_are_the_only_ones(tiny_world, runs, tmp_path):
    given = find_models({"mine": str(runs / "b/student")}, tiny_world, runs)
    assert given == {"mine": runs / "b/student"}
    for models, message in (
        ([str(tmp_path / "nowhere")], "no such model folder"),
        ({"r": "recordings"}, "recordings says no new text"),
    ):
        with pytest.raises(InputError, match=message):
            find_models(models, tiny_world, runs)
    with pytest.raises(InputError, match="no codec in"):
        find_models(None, tmp_path, runs)


def test_a_codec_without_a_teacher_asks_for_models(tiny_world, tmp_path):
    for name in ("codec.safetensors", "codec.json"):
        (tmp_path / name).write_bytes((tiny_world / name).read_bytes())
    with pytest.raises(InputError, match="teacher is not there: name models"):
        find_models(None, tmp_path, tmp_path)


def test_a_model_of_another_codec_says_so_when_it_is_to_speak(tiny_world, tmp_path):
    systems = Systems({"other": student(tmp_path / "o", codes=77)}, tiny_world, "cpu")
    with pytest.raises(ValueError, match="speaks 77 codes"):
        systems.synthesizer("other")


def test_every_prompt_of_a_list_is_a_voice_once(tiny_world):
    items = read_meta(tiny_world / "meta.lst")
    voices = shipped_voices([*items, *items])
    assert list(voices) == ["t0: say prompt", "t1: say prompt"]
    assert voices["t1: say prompt"].prompt_wav == tiny_world / "t1.wav"
