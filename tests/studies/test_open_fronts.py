"""Numbers of front ends, widths and parts are those of their committed files; what lacks is named."""

import pandas as pd
import pytest

from eval.store.files import InputError
from studies.documents.open_fronts import (
    FRONTS,
    PARTS,
    front_values,
    fronts_table,
    part_values,
    widths_table,
)
from studies.documents.sources import Sources


def wer(system, rate, **more):
    ends = {"wer_corpus_low": rate - 0.01, "wer_corpus_high": rate + 0.02}
    return {"system": system, "n_scored": 60, "n_voices": 30, "wer_corpus": rate} | ends | more


@pytest.fixture
def root(tmp_path):
    for folder in ("phonemes", "letters", "wide"):
        (tmp_path / FRONTS / folder).mkdir(parents=True)
    for name in ("test", "plain", "shuffled"):
        for front, rate in (("phonemes", 0.12), ("letters", 0.4)):
            path = tmp_path / FRONTS / front / f"{name}.csv"
            pd.DataFrame([wer(front, rate)]).to_csv(path, index=False)
        gap = {"difference": 0.28, "difference_low": 0.2, "difference_high": 0.35}
        row = {"measure": "wer", "system": "letters", "baseline": "phonemes"} | gap
        other = row | {"measure": "perfect", "difference": -0.4}
        pd.DataFrame([other, row]).to_csv(tmp_path / FRONTS / f"{name}.csv", index=False)
    for run, steps in (("phonemes", (500, 1000, 1500)), ("letters", (500,)), ("wide", (500, 1000))):
        rows = [{"step": n, "val_ce": 6 - n / 1000, "val_alignment": 1.0} for n in steps]
        pd.DataFrame(rows).to_csv(tmp_path / FRONTS / run / "validation.csv", index=False)
    (tmp_path / PARTS).mkdir()
    gap = {"wer_difference": 0.05, "wer_difference_low": 0.04, "wer_difference_high": 0.07}
    mos = {"mos": 3.2, "mos_low": 3.1, "mos_high": 3.3}
    rows = [wer("recordings", 0.04, **mos), wer("codec", 0.09, **mos, **gap)]
    pd.DataFrame(rows).to_csv(tmp_path / PARTS / "leaderboard.csv", index=False)
    return tmp_path


def test_each_list_has_both_front_ends_and_their_difference(root):
    text = fronts_table(Sources(root))
    assert (
        text.count(
            "| 60 in 30 | 12.00 [11.00, 14.00] | 40.00 [39.00, 42.00] | +28.0 [+20.0, +35.0] |"
        )
        == 3
    )


def test_widths_are_compared_where_both_were_trained(root):
    text = widths_table(Sources(root))
    assert "| 500 | 5.50 | 5.50 |" in text and "| 1,000 | 5.00" in text and "1,500" not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("test.phonemes", "12.0"),
            ("plain.letters", "40.0"),
            ("shuffled.gap", "+28.0 [+20.0, +35.0]"),
        ),
        ("ce.phonemes.1500", "4.50"),
    ],
)
def test_values_of_front_ends(root, name, value):
    assert front_values(Sources(root), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("n", "60"), ("recordings", "4.0 [3.0, 6.0]"), ("codec.mos", "3.20 [3.10, 3.30]")),
        ("codec.gap", "+5.0 [+4.0, +7.0]"),
    ],
)
def test_values_of_parts(root, name, value):
    assert part_values(Sources(root), name) == value


@pytest.mark.parametrize(
    "name", ["test.wide", "typed.gap", "ce.phonemes.700", "ce.narrow.500", "gap"]
)
def test_an_unknown_value_of_front_ends_is_named(root, name):
    with pytest.raises(InputError, match=rf"no value fronts\.{name}"):
        front_values(Sources(root), name)


@pytest.mark.parametrize("name", ["teacher", "codec.wer", "codec.n"])
def test_an_unknown_value_of_parts_is_named(root, name):
    with pytest.raises(InputError, match=rf"no value parts\.{name}"):
        part_values(Sources(root), name)


def test_a_table_without_the_comparison_or_with_two_systems_is_named(root):
    path = root / FRONTS / "plain.csv"
    pd.read_csv(path).query("measure != 'wer'").to_csv(path, index=False)
    with pytest.raises(InputError, match=r"plain\.csv: no WER of letters less phonemes"):
        fronts_table(Sources(root))
    path = root / FRONTS / "letters" / "test.csv"
    pd.concat([pd.read_csv(path)] * 2).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"letters/test\.csv: 2 systems, one is expected"):
        fronts_table(Sources(root))
