"""Two grids of the open system beside each other: controls of one, students of both, works of the same name."""

import pytest

from eval.store.files import InputError
from studies.documents.open_start import start_table, start_values
from studies.documents.sources import Sources, difference
from studies.results import publish
from tests.studies.test_open_grid import A, M, W, put
from tests.studies.test_results import WORDS

N = sum(WORDS)
HERE = ("trainer.precision=32-true", "paths.importance=elsewhere")


@pytest.fixture
def sources(tmp_path):
    short, long = tmp_path / "short", tmp_path / "long"
    for seed in (0, 1):
        put(short, f"AA-{seed}", [0, 1, seed], "1to0", "continued", (A, A), seed)
        put(short, f"AM-{seed}", [1, 2, 1], "1to1", "oas", (A, M), seed)
        put(long, f"AM-{seed}", [1, 0, seed], "1to1", "oas", (A, M), seed, HERE)
    put(short, "AW-0", [1, 3, 1], "1to1", "oas", (A, W), 0, ("mixer=window", "init=identity"))
    put(long, "AM-9", [0, 0, 0], "1to1", "oas", (A, M), 0, ("data=mixed", "steps=640", *HERE))
    for grid, name in ((short, "grid"), (long, "grid_long_start")):
        (grid / "grid.json").write_text('{"versions": ["abc"]}')
        publish(grid, tmp_path / "results/open" / name)
    return Sources(tmp_path)


def test_students_stand_beside_controls_and_their_short_start(sources):
    lines = start_table(sources).splitlines()
    rows = {row[2]: row for row in ([c.strip() for c in line.split("|")][1:-1] for line in lines)}
    assert list(rows)[2:] == ["Mamba-2", "Mamba-2 `data=mixed steps=640`"], "places are no kinds"
    plain, longer = rows["Mamba-2"], rows["Mamba-2 `data=mixed steps=640`"]
    assert plain[3:5] == [f"{100 / N:.1f}, {200 / N:.1f}", f"{150 / N:.1f}"]
    assert plain[5].startswith("+0.0 ["), "1 and 2 errors, as the teacher continued"
    assert plain[6].startswith(f"{100 * (1 - 5) / N:+.1f} [") and plain[6].endswith(
        "(1 of 2 seeds)"
    )
    assert plain[7].startswith(f"{100 * (3 - 8) / 2 / N:+.1f} [")
    assert longer[3] == "0.0" and longer[7] == "", "no such cell after the short start"


def test_values_of_sentences_are_those_of_the_table(sources):
    row = start_table(sources).splitlines()[2]
    for part in ("mean", "gap", "window", "short"):
        assert f"| {start_values(sources, f'1to1-oas-M.{part}')} |" in row
    assert start_values(sources, "1to1-oas-M.seeds") == "2"
    (sources.root / "results/open/grid_long_start/generated.json").write_text('{"kept": 6396}')
    assert start_values(sources, "generated") == "6,396"
    assert start_values(sources, "1to1-oas-M+data=mixed+steps=640.mean") == "0.0"
    less = start_values(sources, "1to1-oas-M+data=mixed+steps=640.less-1to1-oas-M")
    assert less.startswith(f"{-100 / N:+.1f} [")


@pytest.mark.parametrize(
    "name",
    [
        *("1to1-oas-M.wer", "1to1-oas-W.mean", "1to1", "1to1-oas-M.less-1to1-oas-W"),
        "1to1-oas-M+data=mixed+steps=640.short",
    ],
)
def test_an_unknown_value_is_named(sources, name):
    with pytest.raises(InputError) as error:
        start_values(sources, name)
    assert f"no value {name!r} of results/open/grid_long_start" in str(error.value)


def test_works_of_one_name_are_told_apart_by_their_grid(sources):
    short, long = sources.study("grid", "open"), sources.study("grid_long_start", "open")
    works = {0: "AM-0"}
    assert difference(long, works, short, works).point == pytest.approx((1 - 4) / N)
    with pytest.raises(InputError, match="a work compared with itself: AM-0, AM-0"):
        difference(long, works, long, works)
