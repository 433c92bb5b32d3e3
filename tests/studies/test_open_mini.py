"""Numbers of the open system are those of its committed evaluations; what lacks is named."""

from pathlib import Path

import pandas as pd
import pytest

from eval.store.files import InputError
from studies.documents.open_mini import (
    FOLDER,
    NATURALNESS,
    SEEN,
    lists_table,
    open_values,
    seen_rows,
)
from studies.documents.sources import Sources

RATES = {"recordings": 0.04, "codec": 0.08, "teacher": 0.095}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    rows = [
        {"system": name, "n_scored": 60, "n_voices": 30, "wer_corpus": rate}
        | {"wer_corpus_low": rate - 0.01, "wer_corpus_high": rate + 0.02}
        | {"sim_prompt": 0.8, "sim_other": 0.7}
        for name, rate in RATES.items()
    ]
    for name in ("test", "plain", "shuffled"):
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    seen = {"system": "teacher", "seen_words": 90, "unseen_words": 10}
    for kind, rate in (("seen", 0.05), ("unseen", 0.3)):
        ends = {"point": rate, "low": rate - 0.01, "high": rate + 0.02, "n": 60, "clusters": 30}
        seen |= {f"{kind}_{end}": value for end, value in ends.items()}
    pd.DataFrame([seen]).to_csv(folder / "seen_words.csv", index=False)
    for file in NATURALNESS:
        name = {"students": "1to11", "systems": "codec"}[Path(file).stem]
        mos = {"mos": 3.25, "mos_low": 3.1, "mos_high": 3.4, "mos_n": 40}
        gap = {"mos_difference": -0.1, "mos_difference_low": -0.2, "mos_difference_high": 0.05}
        (tmp_path / file).parent.mkdir(exist_ok=True)
        pd.DataFrame([{"system": name} | mos | gap]).to_csv(tmp_path / file, index=False)
    return tmp_path


def test_the_tables_have_every_list_and_both_kinds_of_words(root):
    text = lists_table(Sources(root))
    assert text.count("| 60 in 30 | 4.00 [3.00, 6.00] | 8.00 [7.00, 10.00] | 9.50") == 3
    _, rows = seen_rows(Sources(root), {SEEN: ", all"})
    assert rows == [["teacher, all", "5.0 [4.0, 7.0] of 90", "30.0 [29.0, 32.0] of 10", "6.0"]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("test.codec", "8.0"), ("plain.gap", "+1.5"), ("shuffled.above", "+5.5")),
        *(("own", "0.800"), ("other", "0.700"), ("mos.codec", "3.25 [3.10, 3.40]")),
        *(("mos.1to11.n", "40"), ("mos.1to11.gap", "-0.10 [-0.20, +0.05]")),
    ],
)
def test_values(root, name, value):
    assert open_values(Sources(root), name) == value


@pytest.mark.parametrize("name", ["test.student", "typed.codec", "gap"])
def test_an_unknown_value_is_named(root, name):
    with pytest.raises(InputError, match=r"no value .* there are <test\|plain\|shuffled>"):
        open_values(Sources(root), name)


@pytest.mark.parametrize("name", ["mos.student", "mos.codec.wer"])
def test_an_unknown_naturalness_is_named(root, name):
    with pytest.raises(InputError, match=rf"no value {name} .*: mos.<1to11\|codec>"):
        open_values(Sources(root), name)


def test_a_system_that_lacks_is_named(root):
    path = root / FOLDER / "plain.csv"
    pd.read_csv(path).query("system != 'codec'").to_csv(path, index=False)
    with pytest.raises(InputError, match=r"plain\.csv: no row of codec"):
        lists_table(Sources(root))
