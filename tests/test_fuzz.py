"""Whatever a file or a command line says: its meaning, or a declared error; no path leaves its folder.

MAMTRA_FUZZ_EXAMPLES=100000 pytest tests/test_fuzz.py looks longer than every day.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.pack import pack
from data.store import check_store, open_store
from data.tokens import read_token_table
from eval.store.files import InputError
from eval.testset import read_meta
from lightning_modules.trainer_settings import with_arguments
from mamtra.backbone.layer_plan import (
    PLACEMENTS,
    RATIOS,
    layer_plan,
    parse_plan,
    plan_letters,
)
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import CheckpointError, load_lm, save_lm
from mamtra.lm.speech_lm import SpeechLM
from mamtra.text.characters import CharacterTokenizer
from settings import SettingsError, plain_settings, typed
from settings.training import DistillSettings
from tests.data.test_tokens import GOOD

ROOT = Path(__file__).parents[1]
fuzz = settings(
    max_examples=int(os.environ.get("MAMTRA_FUZZ_EXAMPLES", "25")),
    deadline=None,
    derandomize="MAMTRA_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
WORDS = st.text(st.characters(codec="utf-8"), max_size=300)
FIELDS = st.lists(WORDS | st.sampled_from(["a.wav", "../x", "/etc/passwd", "", "u1"]), max_size=7)


def hide_lazy_modules() -> None:
    """Hypothesis asks every loaded module for its file; a lazy module of speechbrain, if another test loaded
    it, answers by importing a package that is not installed, and the ImportError ends the test."""
    for module in list(sys.modules.values()):
        if type(module).__module__ == "speechbrain.utils.importutils":
            module.__dict__.setdefault("__file__", None)


@pytest.fixture(autouse=True)
def no_lazy_modules():
    hide_lazy_modules()


def test_every_module_says_where_its_file_is():
    pytest.importorskip("speechbrain.inference.speaker")
    hide_lazy_modules()
    for module in list(sys.modules.values()):
        getattr(module, "__file__", None)


@fuzz
@given(st.lists(FIELDS.map("|".join)).map("\n".join).map(str.encode) | st.binary(max_size=200))
def test_a_list_is_read_or_refused(tmp_path, content):
    path = tmp_path / "meta.lst"
    path.write_bytes(content)
    with suppress(InputError):
        for item in read_meta(path, need_prompts=False):
            made = (tmp_path / "wavs" / f"{item.utterance}.wav").resolve()
            assert made.parent == (tmp_path / "wavs").resolve()
            assert item.text and len(made.name.encode()) < 255
    with suppress(InputError):
        read_meta(path)


@fuzz
@given(st.integers(-2, 40), st.sampled_from(RATIOS) | WORDS, st.sampled_from(PLACEMENTS) | WORDS)
def test_a_plan_keeps_its_share_or_is_refused(n_layers, ratio, placement):
    with suppress(ValueError):
        scores = list(range(max(n_layers, 0)))
        plan = layer_plan(n_layers, ratio, placement, scores)
        attention, other = map(int, ratio.replace("to", ":").split(":"))
        assert len(plan) == n_layers
        assert plan.count("attention") * (attention + other) == n_layers * attention
        assert parse_plan(plan_letters(plan)) == plan


@fuzz
@given(WORDS | st.text("AMWGS ", max_size=30))
def test_letters_are_a_plan_or_refused(letters):
    with suppress(ValueError):
        assert plan_letters(parse_plan(letters)) == letters.replace(" ", "").upper()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    sizes = BackboneSizes(d_model=8, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=4, d_ff=8)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model") / "lm"
    return save_lm(folder, SpeechLM(sizes, ("attention", "mamba"), 5, 7), {})


@st.composite
def changed(draw, content: dict):
    """A copy with one value, at one level or the next, that is another."""
    copy = json.loads(json.dumps(content))
    key = draw(st.sampled_from(sorted(copy)))
    inner = copy[key]
    if isinstance(inner, dict) and inner and draw(st.booleans()):
        inner[draw(st.sampled_from(sorted(inner)))] = draw(JSON)
    elif draw(st.booleans()):
        copy[key] = draw(JSON)
    else:
        del copy[key]
    return copy


@fuzz
@given(st.data())
def test_an_exported_folder_is_loaded_or_refused(model, data):
    path = model / "model.json"
    whole = path.read_bytes()
    new = data.draw(
        st.binary(max_size=60) | changed(json.loads(whole)).map(json.dumps).map(str.encode)
    )
    try:
        path.write_bytes(new)
        with suppress(CheckpointError):
            load_lm(model)
    finally:
        path.write_bytes(whole)


def flipped(data, whole: bytes) -> bytes:
    """`whole` cut, or with one bit changed."""
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        return whole[:at]
    return whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :]


@fuzz
@given(st.data())
def test_damaged_weights_are_never_loaded(model, data):
    path = model / "model.safetensors"
    whole = path.read_bytes()
    try:
        path.write_bytes(flipped(data, whole))
        with pytest.raises(CheckpointError):
            load_lm(model)
    finally:
        path.write_bytes(whole)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "tokens.parquet"
    pd.DataFrame(GOOD).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def store(tokens):
    return pack(tokens, tokens.with_name("store"), CharacterTokenizer(), 10)


@fuzz
@given(st.data())
def test_a_damaged_table_of_tokens_is_read_or_refused(tokens, data):
    damaged = tokens.with_name("damaged.parquet")
    damaged.write_bytes(flipped(data, tokens.read_bytes()))
    with suppress(ValueError):
        read_token_table(damaged, "train", CharacterTokenizer(), 10)


@fuzz
@given(st.data())
def test_a_damaged_store_is_refused(store, data):
    file = data.draw(st.sampled_from(sorted(store.iterdir())))
    whole = file.read_bytes()
    if file.suffix == ".json":
        new = data.draw(changed(json.loads(whole)).map(json.dumps).map(str.encode))
    else:
        new = flipped(data, whole)
    try:
        file.write_bytes(new)
        with suppress(ValueError, FileNotFoundError):
            check_store(store)
            assert file.suffix == ".json", "a bit of the arrays has changed"
        with suppress(ValueError, FileNotFoundError):
            open_store(store).table("train", CharacterTokenizer(), 10)
    finally:
        file.write_bytes(whole)


KEYS = (
    "steps",
    "seed",
    "batch.max_tokens",
    "optimizer.lr",
    "trainer.keep",
    "objective.more",
    "plan",
)


@fuzz
@given(st.sampled_from(KEYS), WORDS | st.integers().map(str) | JSON.map(json.dumps))
def test_an_override_is_a_setting_or_refused(key, value):
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        try:
            config = compose("train", overrides=["experiment=mini_distill", f"{key}={value}"])
            plain = with_arguments(plain_settings(config))
        except (HydraException, SettingsError):
            return
    with suppress(SettingsError):
        assert typed(DistillSettings, plain).task == "distill"
