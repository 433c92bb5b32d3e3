"""Rows cannot carry another run's label: what used to happen, each case refused or rightly labelled."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from eval.report.evaluation import check_one_way
from eval.store.database import Store
from eval.store.evaluations import check_comparable, read_evaluation
from eval.store.files import InputError, sha256_bytes
from eval.synthesis.synthesize import synthesize, why_not_ready
from eval.synthesis.systems import Spoken
from eval.testset import Item
from tests.eval.scored_world import CountingASR, items, run, stored
from tests.eval.stored import WER, put_evaluation

QUIET = Console(quiet=True)
ITEMS = [Item(name, f"say {name}", "hi", None, None, i + 1) for i, name in enumerate("ab")]
ROWS = [{"utterance": name, "wer": 0.0, "prompt": "p"} for name in "ab"]


class Voice:
    """A system whose speech depends on a model and a seed."""

    batch = 1

    def __init__(self, model: str = "m1", seed: int = 0, top_p: float = 0.8) -> None:
        self.model, self.seed, self.top_p = model, seed, top_p

    def check(self, items):
        pass

    def recipe(self):
        sampling = {"top_p": self.top_p}
        return {"model_sha256": self.model, "seed_index": self.seed, "sampling": sampling}

    def inputs(self, item):
        return sha256_bytes(item.text.encode())

    def load(self):
        pass

    def say(self, items):
        return [
            Spoken(np.full(160, 0.1 * (1 + self.seed), dtype=np.float32), 16_000) for _ in items
        ]

    def card(self):
        return {"kind": "model", "source": self.model}


def spoken(folder: Path, voice: Voice) -> Store:
    store = Store(folder)
    synthesize(ITEMS, voice, store, name="s", console=QUIET)
    return store


def test_rows_of_one_recogniser_are_never_labelled_as_anothers(world):
    """A run that was stopped after it had said what it would score with."""

    class Stopped(CountingASR):
        def transcribe(self, wave):
            raise KeyboardInterrupt

    run(world, items(world))
    with pytest.raises(KeyboardInterrupt):
        run(world, items(world), Stopped(name="another"))
    [one] = read_evaluation(world / "out")
    assert one.recipes["wer"]["recogniser"] == CountingASR().recipe


def test_a_sharded_run_does_not_keep_the_rows_of_a_former_one(world):
    another = CountingASR(name="another")
    run(world, items(world))
    run(world, items(world), another, shard=(0, 2))
    with pytest.raises(InputError, match=r"recogniser\.tool: \w+ and \w+"):
        stored(world)
    run(world, items(world), another, shard=(1, 2))
    [one] = read_evaluation(world / "out")
    assert one.recipes["wer"]["recogniser"] == another.recipe


def test_wavs_of_one_seed_do_not_become_anothers(tmp_path):
    store = spoken(tmp_path, Voice(seed=0))
    assert why_not_ready(store, "s", Voice(seed=0), ITEMS) is None
    assert "seed_index: 0 and 1" in str(why_not_ready(store, "s", Voice(seed=1), ITEMS))


def test_a_retrained_model_does_not_get_the_old_wavs(tmp_path):
    store = spoken(tmp_path, Voice("m1"))
    assert "model_sha256: m1 and m2" in str(why_not_ready(store, "s", Voice("m2"), ITEMS))
    wavs = {path.name: path.read_bytes() for path in (tmp_path / "s/wavs").iterdir()}
    synthesize(ITEMS, Voice("m2", seed=1), store, name="s", console=QUIET)
    assert {p.name: p.read_bytes() for p in (tmp_path / "s/wavs").iterdir()} != wavs


def test_other_texts_sampling_and_foreign_files_are_seen(tmp_path):
    store = spoken(tmp_path, Voice())
    assert "top_p" in str(why_not_ready(store, "s", Voice(top_p=0.5), ITEMS))
    other = [ITEMS[0], replace(ITEMS[1], text="say something else")]
    assert "the text or the prompt of b" in str(why_not_ready(store, "s", Voice(), other))
    more = [*ITEMS, replace(ITEMS[1], utterance="c")]
    assert "1 of 3 utterances are not synthesised" in str(why_not_ready(store, "s", Voice(), more))
    soundfile.write(tmp_path / "s/wavs/a.wav", np.zeros(5), 16_000)
    assert "a.wav is not the file" in str(why_not_ready(store, "s", Voice(), ITEMS))


def test_speech_that_was_made_again_has_no_scores_until_it_is_scored(tmp_path):
    store = spoken(tmp_path, Voice())
    rows = [
        row | {"wav_sha256": said["sha256"]}
        for row, (_, said) in zip(ROWS, store.speech("s").values(), strict=True)
    ]
    speech = Voice().recipe()
    put_evaluation(tmp_path, "s", rows, speech=speech | {"kind": "model"})
    store.put_scores(
        "s",
        list(enumerate(rows)),
        utterances=["a", "b"],
        test_set="t",
        seed=0,
        speech_recipe=speech,
        metric_recipes={"wer": WER},
    )
    assert read_evaluation(tmp_path)
    synthesize(ITEMS, Voice(seed=1), store, name="s", console=QUIET)
    with pytest.raises(
        InputError, match=r"synthesised again after it was scored \(seed_index: 0 and 1"
    ):
        read_evaluation(tmp_path)


def test_two_ways_of_scoring_are_not_put_into_one_table(tmp_path):
    """The report took the rules of the first system for all."""
    put_evaluation(tmp_path, "a", ROWS)
    put_evaluation(tmp_path, "b", ROWS, recipes={"wer": WER | {"profile": "f5"}})
    systems = read_evaluation(tmp_path)
    with pytest.raises(InputError, match="profile: seedtts and f5"):
        check_one_way(systems)
    put_evaluation(tmp_path, "b", ROWS, test_set="another list")
    with pytest.raises(InputError, match="different test sets"):
        check_one_way(read_evaluation(tmp_path))


def test_leaving_a_metric_out_keeps_the_others_comparable(tmp_path):
    put_evaluation(tmp_path, "a", ROWS, recipes={"wer": WER, "mos": {"mos": "m"}})
    put_evaluation(tmp_path, "b", ROWS, recipes={"wer": WER})
    systems = read_evaluation(tmp_path)
    check_one_way(systems)
    check_comparable(systems)
    with pytest.raises(InputError, match="different recipes of mos"):
        check_comparable(systems, "mos")


def test_the_cross_entropy_of_another_model_is_not_shown(tmp_path):
    put_evaluation(tmp_path, "s", ROWS, speech={"model_sha256": "m1"})
    store = Store(tmp_path)
    found = {"nats_per_token": 2.5, "shuffled_nats_per_token": 8.0}
    store.put_cross_entropy("m1", {"limit": None}, found)
    assert read_evaluation(tmp_path)[0].card["ce"] == 2.5
    put_evaluation(tmp_path, "s", ROWS, speech={"model_sha256": "m2"})
    assert "ce" not in read_evaluation(tmp_path)[0].card
