"""Recordings through the vocoder alone: their own pitch, or one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from eval.store.files import InputError
from eval.synthesis.build import build_systems, name_systems
from eval.synthesis.vocoded import acoustic_frames
from eval.testset import one_item, read_meta
from mamtra.speech.features import F0_CENTRE_HZ


def rising() -> torch.Tensor:
    """A voice that rises from 120 to 180 Hz in a second, then noise."""
    hz = np.linspace(120, 180, 16_000)
    phase = 2 * np.pi * np.cumsum(hz) / 16_000
    wave = sum(np.sin(k * phase) / k for k in range(1, 15))
    noise = 0.02 * np.random.default_rng(0).standard_normal(8_000)
    return torch.from_numpy(np.concatenate((0.1 * wave, noise)).astype(np.float32))


def test_frames_have_the_pitch_of_the_recording_or_its_mean():
    own, flat = (acoustic_frames(rising(), kind) for kind in (False, True))
    assert own.shape == flat.shape == (150, 82)
    assert torch.equal(own[:, :80], flat[:, :80]) and torch.equal(own[:, 81], flat[:, 81])
    hz = F0_CENTRE_HZ * own[:, 80].exp()
    assert float(hz[10]) == pytest.approx(126, abs=3) and float(hz[90]) == pytest.approx(174, abs=3)
    assert len(set(flat[:, 80].tolist())) == 1
    assert float(own[10, 81]) == 6 and float(own[140, 81]) == -6


def test_both_are_systems_of_an_evaluation_and_need_recordings(tiny_world, tmp_path):
    given = {"codec_folder": tiny_world, "seed_index": 0, "sampling": {}, "device": "cpu"}
    prompt = read_meta(tiny_world / "meta.lst")[0].prompt_wav
    assert prompt is not None
    items = one_item("a word", prompt, "a word")
    with pytest.raises(InputError, match="no original recording"):
        build_systems(name_systems("vocoder"), items, tmp_path, **given)
    said = [replace(item, recording=prompt) for item in items]
    systems = build_systems(name_systems(["vocoder", "flat"]), said, tmp_path, **given)
    spoken = [system.voicer.say(system.items)[0] for system in systems]
    assert spoken[0].wave.size == spoken[1].wave.size > 0 and spoken[0].n_tokens is None
    recipes = [system.voicer.recipe() for system in systems]
    assert recipes[0] != recipes[1] and systems[0].card()["kind"] == "vocoder"
