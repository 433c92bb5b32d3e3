"""Rows: voices, prompts, further recognisers, recipes, and names with any characters."""

import io
import json
from dataclasses import replace

import numpy as np
import soundfile
from rich.console import Console

from eval.metrics.speaker.ge2e import GE2ESpeaker
from eval.metrics.speaker.similarity import PromptSimilarity
from eval.scoring.score import score
from eval.store.database import Store
from tests.eval.scored_world import (
    RATE_HZ,
    RECIPE,
    BatchASR,
    CountingASR,
    items,
    run,
    score_with,
    stand_ins,
    tone,
)


def test_a_prompt_that_is_not_there_costs_the_similarity_alone_and_says_so(world):
    good, _ = run(world, items(world))
    (world / "high.wav").unlink()
    rows, _ = run(world, items(world))
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert "high.wav: ValueError: missing: no such file" in rows[1]["failures"]["sim"]
    assert rows[1]["sim_prompt"] is None and rows[1]["wer"] == 0.0 and rows[1]["mos"] is not None
    assert rows[0]["sim_prompt"] == good[0]["sim_prompt"] and rows[0]["failures"] == {}


def test_a_prompt_too_short_to_embed_ends_no_run(world):
    """0.05 s of noise: GE2E's own encoder, which trims it to nothing."""
    soundfile.write(
        world / "high.wav", 0.3 * np.random.default_rng(0).standard_normal(800), RATE_HZ
    )
    scorers = stand_ins(world)
    real = replace(scorers, metrics=scorers.metrics | {"sim": PromptSimilarity(GE2ESpeaker())})
    rows = score_with(world, items(world), real)
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert all(row["sim_prompt"] is not None or "sim" in row["failures"] for row in rows)


def test_a_second_recogniser_is_heard_beside_the_first(world):
    both = (CountingASR("hello world"), CountingASR("hello word", "second"))
    rows, scorers = run(world, items(world), both)
    assert rows[0]["wer"] == 0.0 and rows[0]["transcript"] == "hello world"
    heard = {"transcript": "hello word", "substitutions": 1, "deletions": 0, "insertions": 0}
    assert rows[0]["hearings"] == {"second": heard | {"reference_words": 2}}
    recipes = scorers.recipes()
    assert recipes["wer"]["recogniser"] == {"tool": "counting"}
    assert recipes["wer:second"]["recogniser"] == {"tool": "second"}
    broken = (CountingASR(), CountingASR("raise", "second"))
    (world / "cache").rename(world / "old")
    rows, _ = run(world, items(world), broken)
    assert rows[0]["status"] == "ok" and "out of memory" in rows[0]["failures"]["wer:second"]
    assert rows[0]["hearings"]["second"]["deletions"] == 2


def test_recipes_are_per_metric(world):
    scorers = stand_ins(world)
    without = replace(scorers, metrics={k: v for k, v in scorers.metrics.items() if k != "mos"})
    assert scorers.recipes()["wer"] == without.recipes()["wer"] and "mos" not in without.recipes()
    other = stand_ins(world, profile="whisper").recipes()
    assert other["sim"] == scorers.recipes()["sim"] and other["wer"] != scorers.recipes()["wer"]
    json.dumps(other)


def test_the_voice_of_the_list_is_the_cluster(world):
    these = [
        replace(item, listed_voice=voice) for item, voice in zip(items(world), "xxy", strict=True)
    ]
    rows, _ = run(world, these)
    assert [row["voice"] for row in rows] == ["x", "x", "y"]
    assert rows[0]["prompt"] == str(world / "low.wav")
    assert run(world, items(world))[0][1]["voice"] == str(world / "high.wav")
    alone = [replace(item, prompt_wav=None) for item in items(world)]
    assert [row["voice"] for row in run(world, alone)[0]] == ["a", "b", "c"]


class WholeClips(CountingASR):
    whole_clips = True


def test_a_recogniser_with_windows_of_its_own_is_given_the_whole_clip(world):
    soundfile.write(world / "out/wavs/a.wav", tone(200, 61.0), RATE_HZ)
    parts, whole = CountingASR(), WholeClips(name="whole")
    rows, _ = run(world, items(world, "a"), (parts, whole))
    assert (parts.calls, whole.calls) == (3, 1) and rows[0]["flags"] == ["long"]
    recipes = stand_ins(world, whole).recipes()["wer"], stand_ins(world).recipes()["wer"]
    assert recipes[0]["long_clips"] == "the recogniser's own windows"
    assert "first 30 s" in recipes[1]["long_clips"]["rule"] and "scipy" in str(recipes[1]["audio"])


def test_markup_in_names_and_paths_is_printed_as_it_is(world):
    """Brackets mean something to the console; a closing one without its opening raises."""
    odd = world / "[hifi] [/x]\u00a0'q'"
    odd.mkdir(parents=True)
    soundfile.write(odd / "b.wav", np.zeros(10), RATE_HZ)
    these = [replace(item, prompt_wav=odd / "b.wav") for item in items(world)]
    console = Console(record=True, width=400, file=io.StringIO())
    store = Store(world / "out")
    store.put_system("[/s]", RECIPE, {"kind": "wavs", "source": str(world / "out/wavs")})
    made = {"speech_recipe": RECIPE, "test_set": "list", "seed": 0, "name": "[/s]"}
    asr = BatchASR(fails=True)
    score(these, world / "out/wavs", store, stand_ins(world, asr), console=console, **made)
    store.close()
    text = console.export_text()
    assert "3 rows have no sim" in text and str(odd / "b.wav") in text and "[/s]: 3 rows" in text
    assert "out of [/memory]" in text
