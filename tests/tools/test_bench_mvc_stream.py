"""The bench of streamed speech: words, joints, and rows whose control is the stream that waits for all."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mamtra.mvc.model import build
from mamtra.mvc.voice import Voices
from mamtra.speech.vocoder import Vocoder
from tests.shipped import OPEN
from tests.small_mvc import SMALLEST
from tools import bench_mvc_stream
from tools.bench_mvc_stream import bench, level_steps, measured, said, words

MVC = OPEN.parent / "mvc"


@pytest.fixture
def tts() -> Any:
    torch.manual_seed(0)
    vocoder = Vocoder(width=16, n_blocks=2).eval()
    torch.nn.init.normal_(vocoder.outlet.weight, std=0.3)
    model = build(replace(SMALLEST, lookahead=2), "mvc").eval()
    # A decoder as it is built adds nothing and so sees nothing ahead.
    torch.nn.init.normal_(model.decoder.outlet.weight, std=0.3)
    with torch.no_grad():
        model.rhythm.duration.bias.fill_(1.3)
    codec = SimpleNamespace(vocoder=vocoder)
    return SimpleNamespace(model=model, codec=codec, sample_rate_hz=16_000)


def test_words_end_behind_their_border():
    assert list(words([0, 3, 4, 0, 5, 0, 6])) == [[0, 3, 4, 0], [5, 0], [6]]
    assert list(words([])) == []


def test_a_jump_of_level_at_a_joint_is_found():
    wave = np.full(1600, 0.1)
    assert level_steps(wave, [800]) == ([0.0], [0.0] * 9)
    wave[800:] = 1.0
    (jump,), others = level_steps(wave, [800])
    assert jump == pytest.approx(20, abs=0.1) and max(others) == pytest.approx(jump)
    assert level_steps(wave, [10])[0] == []  # nothing to compare before it


def test_a_stream_that_waits_for_all_is_its_own_control(tts):
    ids = [0, *np.random.default_rng(0).integers(1, SMALLEST.vocab, 6).tolist(), 0, 3, 4, 0, 5]
    voice = Voices(torch.nn.functional.normalize(torch.ones(1, SMALLEST.d_voice)))
    texts = [(ids, voice)]
    wholes = said(tts, texts, 10_000)
    again = said(tts, texts, 10_000)
    every = measured(tts, texts, again, wholes, 10_000, minutes=0.1)
    assert every["distance_db"] == 0
    row = measured(tts, texts, said(tts, texts, 0), wholes, 0, minutes=0.1)
    assert row["distance_db"] > 0.01 and row["growth"] == pytest.approx(1, rel=0.1)
    assert 0 < row["first_tokens"] <= every["first_tokens"] and row["rtf"] > 0


def test_settings_that_are_none_are_said(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        bench(tmp_path, tmp_path, tmp_path, 0, 5, [1])


def test_an_interrupted_bench_keeps_its_rows(tmp_path, monkeypatch):
    def one_row(*given):
        if given[4] > 0:
            raise KeyboardInterrupt
        return dict.fromkeys(("first_ms", "rtf"), 1.0) | {"ahead": given[4]}

    monkeypatch.setattr(bench_mvc_stream, "said", lambda *_: [])
    monkeypatch.setattr(bench_mvc_stream, "measured", one_row)
    with pytest.raises(KeyboardInterrupt):
        bench(MVC, tmp_path, OPEN, 1, 1, [0, 16])
    stored = json.loads((tmp_path / "stream.json").read_text())
    assert [row["ahead"] for row in stored["rows"]] == [0] and stored["sentences"] == 1
