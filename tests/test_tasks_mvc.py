"""What a model of MambaVoiceCloning starts from."""

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mamtra.mvc.folder import save_mvc
from mamtra.mvc.model import build
from mamtra.mvc.sizes import MVCSizes
from mamtra.systems import load_text
from settings import SettingsError
from tasks_mvc import model_of
from tests.small_mvc import ARM

VOCAB = load_text("phonemes", Path("nowhere")).vocab_size


@pytest.fixture
def trained(tmp_path):
    torch.manual_seed(1)
    model = build(MVCSizes(vocab=VOCAB, **asdict(ARM)), "mvc")
    save_mvc(tmp_path / "trained", model, {})
    return tmp_path / "trained", model


def settings(**changes) -> Any:
    given = {
        "text": "phonemes",
        "paths": SimpleNamespace(cosyvoice2=Path("nowhere")),
        "sizes": ARM,
        "conditioning": "mvc",
        "start": None,
        "start_parts": "decoder",
    }
    return SimpleNamespace(**given | changes)


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_an_arm_takes_the_decoder_and_a_run_that_goes_on_takes_all(trained):
    folder, model = trained
    arm = model_of(settings(start=folder, conditioning="conv"))
    assert same(arm.decoder, model.decoder)
    fresh = model_of(settings(start=folder))
    assert same(fresh.decoder, model.decoder) and not same(fresh.text, model.text)
    assert same(model_of(settings(start=folder, start_parts="all")), model)
    anew = model_of(settings(start=folder, start_parts="conditioning"))
    assert same(anew.text, model.text) and not same(anew.decoder, model.decoder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start_parts": "text"}, "start_parts=text: valid are decoder, conditioning, all"),
        ({"start_parts": "all", "conditioning": "conv"}, "is of conditioning=mvc, not conv"),
        ({"sizes": replace(ARM, decoder_width=8)}, "other sizes"),
    ],
)
def test_what_does_not_fit_is_said(trained, changes, message):
    with pytest.raises(SettingsError, match=message):
        model_of(settings(start=trained[0], **changes))
