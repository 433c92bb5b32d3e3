"""Tables of what conditioning costs and of long readings: ratios of one turn, units, unknown names."""

import json
from dataclasses import asdict

import pandas as pd
import pytest

from eval.efficiency.encoder_cost import Point
from eval.store.files import InputError
from studies.documents.long_readings import LONG, long_table
from studies.documents.mvc_cost import COST, STREAM, cost_table, cost_values, stream_table
from studies.documents.sources import Sources


def write(root, name, rows):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(root / name, index=False)


@pytest.fixture
def cost(tmp_path):
    points = []
    for turn, slow in enumerate((1, 2, 1)):  # the second turn met a slow minute
        # arm -> seconds at 10 and 1000 tokens
        for arm, (short, long) in {"mvc": (0.02, 1.0), "attention": (0.01, 2.0 + turn)}.items():
            points.append(Point(arm, turn, 10, slow * short, slow * 0.05, slow * 0.03, 5, 10, 7))
            peak = 10**9 if arm == "mvc" else 3 * 10**9
            points.append(Point(arm, turn, 1000, slow * long, None, None, 5, peak, 2_500_000))
    write(tmp_path, COST, [asdict(p) for p in points])
    return Sources(tmp_path)


def test_ratios_are_of_one_turn(cost):
    rows = cost_table(cost).splitlines()
    assert rows[0].startswith("| arm | parameters, M | ms at 10 | ms at 1000 | peak MB at 1000")
    assert rows[2] == "| `mvc` | 0.00 | 20 | 1000 | 1000 | 1 |"
    assert rows[3] == "| `attention` | 0.00 | 10 | 4000 | 3000 | 3.00 (2.00 to 4.00) |"
    assert cost_values(cost, "faster.attention") == "3.00 (2.00 to 4.00)"
    assert cost_values(cost, "lighter.attention") == "3.00 (3.00 to 3.00)"
    assert (cost_values(cost, "longest"), cost_values(cost, "spoken")) == ("1000", "10")
    parts = [int(cost_values(cost, name)) for name in ("share", "decoder", "vocoder")]
    assert parts == [20, 50, 30]
    assert cost_values(cost, "rtf") == f"{0.07 / 0.6:.3f}"  # ten tokens are 0.6 s
    low, _, high = cost_values(cost, "crossover.attention").partition(" to ")
    assert 10 < int(low) < int(high) < 1000
    assert cost_values(cost, "crossover.mvc") == "no length"
    with pytest.raises(InputError, match=r"no value mvc_cost\.faster\.rnn"):
        cost_values(cost, "faster.rnn")


def test_long_readings_have_their_units(tmp_path):
    values = {f"wer_{i}": 0.01 * i for i in range(1, 6)}
    values |= {"wer_change": 0.04, "sim_change": -0.01, "pitch_cents_per_min": 12, "duration_s": 90}
    rows = [
        {
            "system": "teacher",
            "low": 63,
            "high": 400,
            "measure": name,
            "mean": mean,
            "lower": mean - abs(mean),
            "upper": mean + abs(mean),
            "n": 6,
            "voices": 6,
        }
        for name, mean in values.items()
    ]
    write(tmp_path, LONG, rows)
    row = long_table(Sources(tmp_path)).splitlines()[2]
    assert row == (
        "| `teacher` | 1.5 | 6 | 1.0, 2.0, 3.0, 4.0, 5.0 | +4.0 [+0.0, +8.0] | "
        "-0.010 [-0.020, +0.000] | +12 [+0, +24] | – |"
    )


def test_a_stream_is_told_in_milliseconds(tmp_path):
    row = {"ahead": 16, "first_ms": 41.4, "first_tokens": 24.04, "rtf": 0.1234, "kilobytes": 812.3}
    row |= {"growth": 1.0, "distance_db": 0.456, "joint": None, "joints": 0}
    (tmp_path / STREAM).parent.mkdir(parents=True)
    (tmp_path / STREAM).write_text(json.dumps({"rows": [row]}))
    line = stream_table(Sources(tmp_path)).splitlines()[2]
    assert line == "| 320 | 41 | 24.0 | 0.123 | 812 | 1.00 | 0.46 | – | 0 |"
