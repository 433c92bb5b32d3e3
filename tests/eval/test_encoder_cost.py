"""stage=encoder_cost: arms by name or folder, crossover lengths, one process a point."""

import csv
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from rich.console import Console

from eval.efficiency import encoder_point
from eval.efficiency.encoder_cost import Point, crossover, crossovers, described, encoder_cost
from eval.efficiency.encoder_point import PROCESS, point, rise
from eval.efficiency.settings import ArmSizes, EncoderCost
from eval.settings import SystemSettings
from eval.store.files import InputError
from tests.small_mvc import ARM

QUIET = Console(quiet=True)


@pytest.fixture
def settings(tmp_path) -> EncoderCost:
    return EncoderCost(
        stage="encoder_cost",
        paths={},
        threads=1,
        system=SystemSettings(tmp_path, {}, "fp32", False),
        sizes=ArmSizes(**asdict(ARM)),
        model=None,
        models=["mvc", "attention"],
        baseline="attention",
        lengths=[8, 40],
        decode_up_to=8,
        n_steps=2,
        vocode=False,
        rounds=1,
        turns=2,
        out=tmp_path / "cost",
    )


def at(system: str, turn: int = 0, **seconds: float) -> list[Point]:
    return [Point(system, turn, int(n[1:]), s, None, None, 0, 0, 0) for n, s in seconds.items()]


# A process of its own, as in `stage=encoder_cost`: in that of the tests, others may let go of memory.
RISE = """
import numpy as np
from eval.efficiency.encoder_point import rise
np.ones(400_000_000, np.uint8)  # gone at once, but the process's peak
print(rise(lambda: np.ones(100_000_000, np.uint8).sum()), rise(lambda: None))
"""


@pytest.mark.skipif(not (PROCESS / "clear_refs").exists(), reason="asks Linux for the peak")
def test_memory_that_rises_below_an_earlier_peak_is_seen():
    said = subprocess.run([sys.executable, "-c", RISE], capture_output=True, text=True, check=True)
    found, small = map(int, said.stdout.split())
    assert 95e6 < found < 150e6
    assert small < 5e6


def test_without_linux_no_peak_is_made_up(monkeypatch, tmp_path, settings):
    monkeypatch.setattr(encoder_point, "PROCESS", tmp_path)
    assert rise(lambda: None) is None


def test_crossovers_lie_between_lengths_on_logarithms():
    base = at("attention", n10=1.0, n100=10.0, n1000=100.0)
    mine = at("mvc", n10=2.0, n100=10.0, n1000=50.0)
    assert crossover(base + mine, "mvc", "attention") == pytest.approx(100)
    faster = at("mvc", n10=0.5, n100=5.0, n1000=50.0)
    assert crossover(base + faster, "mvc", "attention") == 0
    assert crossover(base + faster, "attention", "mvc") is None
    mine = at("mvc", n10=2.0, n100=20.0, n1000=50.0)
    assert crossover(base + mine, "mvc", "attention") == pytest.approx(100_000**0.5)


def test_crossovers_are_those_of_single_turns():
    # A machine that was half as fast in the second turn moves nothing.
    base = at("attention", n10=1.0, n100=10.0) + at("attention", 1, n10=2.0, n100=20.0)
    mine = at("mvc", n10=2.0, n100=5.0) + at("mvc", 1, n10=4.0, n100=10.0)
    found = crossovers(base + mine, "mvc", "attention")
    assert found == pytest.approx([1000**0.5, 1000**0.5])
    slow = at("mvc", n10=2.0, n100=5.0) + at("mvc", 1, n10=4.0, n100=21.0)
    assert crossovers(base + slow, "mvc", "attention")[1] == float("inf")


def test_what_is_no_arm_is_named_with_those_that_are(settings):
    with pytest.raises(InputError, match=r"neither a folder .*arms: mvc, gated"):
        described(replace(settings, models=["rnn"]))
    with pytest.raises(InputError, match="reads its target"):
        described(replace(settings, models=["leak"]))
    with pytest.raises(InputError, match="not both"):
        described(replace(settings, model="mvc"))
    with pytest.raises(InputError, match="baseline=conv: no such system"):
        encoder_cost(replace(settings, baseline="conv"), QUIET)
    with pytest.raises(InputError, match="at least one"):
        encoder_cost(replace(settings, lengths=[]), QUIET)
    with pytest.raises(InputError, match="turns=0: at least one"):
        encoder_cost(replace(settings, turns=0), QUIET)


def test_a_point_counts_what_grows_with_the_text(settings):
    task = {
        **described(settings)["mvc"],
        "system": "mvc",
        "turn": 0,
        "rounds": 1,
        "threads": 1,
        "codec": None,
        "n_steps": 2,
    }
    short, long = (point({**task, "n_tokens": n}) for n in (8, 40))
    assert long.flops > 3 * short.flops > 0 and short.parameters == long.parameters > 0
    assert short.decode_s is not None and short.vocode_s is None and short.condition_s > 0


@pytest.mark.slow  # a process for each point
def test_the_stage_measures_every_arm_at_every_length(settings):
    assert encoder_cost(settings, QUIET) == 0
    rows = list(csv.DictReader((settings.out / "encoder_cost.csv").open()))
    assert [(row["system"], row["turn"], row["n_tokens"]) for row in rows] == [
        (name, turn, n) for n in ("8", "40") for turn in "01" for name in ("mvc", "attention")
    ]
    assert rows[0]["decode_s"] and not rows[-1]["decode_s"]


def test_an_interrupted_stage_keeps_what_it_has_measured(settings, monkeypatch):
    made = iter(at("mvc", n8=1.0) + at("attention", n8=2.0))

    def one_more(*_: object) -> Point:
        try:
            return next(made)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("eval.efficiency.encoder_cost._in_process", one_more)
    with pytest.raises(KeyboardInterrupt):
        encoder_cost(settings, QUIET)
    rows = list(csv.DictReader((settings.out / "encoder_cost.csv").open()))
    assert [(row["system"], row["condition_s"]) for row in rows] == [
        ("mvc", "1.0"),
        ("attention", "2.0"),
    ]
