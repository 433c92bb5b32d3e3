"""Tables of the comparison of arms: signs, seeds, and what is said of files that do not hold together."""

import pytest

from eval.store.files import InputError
from studies.documents.mvc_arms import (
    GRID,
    MODULES,
    SYSTEMS,
    arm_values,
    arms_table,
    cells,
    modules_table,
    primary_table,
    systems_table,
)
from studies.documents.sources import Sources

MEASURES = (
    *("f0_rmse_cents", "contour_rmse_cents", "f0_correlation", "f0_std_ratio", "mcd_db"),
    "length_ratio",
)


def write(root, name, header, rows):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def prosody(root, folder, systems):
    rows = [
        (t, s, m, 1.5 if t == "pyin" else 9, 0)
        for t in ("pyin", "nccf")
        for s in systems
        for m in MEASURES
    ]
    write(root, f"{folder}/prosody.csv", "tracker,system,measure,mean,low", rows)


@pytest.fixture
def root(tmp_path):
    header = "conditioning,seed,overrides,status,work,wer_corpus,wer_guarded,sim_prompt,sim_other,n_scored"
    rows = [
        ("conv", 0, "", "done", "c0", 0.1, 0.1, 0.8, 0.7, 5),
        ("conv", 1, "", "done", "c1", 0.2, 0.1, 0.8, 0.7, 5),
    ]
    rows += [
        ("mvc", 0, "", "done", "m0", 0.3, 0.2, 0.9, 0.7, 5),
        ("mvc", 1, "", "left", "m1", "", "", "", "", ""),
    ]
    rows += [
        ("attention", 0, "", "done", "a", 0.4, 0.4, 0.9, 0.7, 5),
        ("bilstm", 0, "", "done", "b", 0.4, 0.4, 0.9, 0.7, 5),
    ]
    rows += [("mvc", 0, "sizes.text_blocks=6", "done", "m6", 0.9, 0.9, 0.9, 0.7, 5)]
    write(tmp_path, f"{GRID}/cells.csv", header, rows)
    arms = ("conv", "bilstm", "attention")
    gaps = "difference,difference_low,difference_high,p_holm"
    compared = [
        (m, arm, "mvc", 1, 0.05, 0.01, 0.09, 0.02, 0.03)
        for m in ("wer", "wer_guarded")
        for arm in arms
    ]
    write(
        tmp_path,
        f"{GRID}/compare.csv",
        f"measure,system,baseline,seeds,{gaps},minimum_detectable_difference",
        compared,
    )
    sound = [
        (t, m, arm, "mvc", 1, -2.0, -3.0, -1.0, 0.5, 4)
        for t in ("pyin", "nccf")
        for m in ("f0_rmse_cents", "mcd_db")
        for arm in arms
    ]
    write(
        tmp_path,
        f"{GRID}/prosody_compare.csv",
        f"tracker,measure,system,baseline,seeds,{gaps},detectable",
        sound,
    )
    prosody(tmp_path, GRID, ["mvc", "conv", "conv/1", "attention", "bilstm"])
    head = "system,wer_corpus,wer_corpus_low,wer_corpus_high,sim_prompt,sim_other,mos"
    write(
        tmp_path,
        f"{SYSTEMS}/leaderboard.csv",
        head,
        [("teacher", 0.1, 0.05, 0.2, 0.8, 0.6, ""), ("mvc", 0.12, 0.1, 0.2, 0.8, 0.7, 2.5)],
    )
    prosody(tmp_path, SYSTEMS, ["mvc"])
    return tmp_path


def test_arms_are_in_order_with_their_finished_seeds_alone(root):
    found = cells(Sources(root))
    assert list(found) == ["mvc", "conv", "bilstm", "attention"]
    assert {arm: list(seeds) for arm, seeds in found.items()}["conv"] == [0, 1]
    lines = arms_table(Sources(root)).splitlines()
    assert lines[2].startswith("| `mvc` | 30.0 | 30.0 | 20.0 | 0.200 | 2 | 2 | 1.50")
    assert lines[3].startswith("| `conv` | 10.0, 20.0 | 15.0 | 10.0 | 0.100 |")


def test_differences_are_of_mvc_less_the_arm_though_files_have_it_the_other_way(root):
    lines = primary_table(Sources(root)).splitlines()
    assert lines[2] == "| WER, points | `mvc` - `conv` | -5.0 [-9.0, -1.0] | 0.020 | 3.0 | 1 |"
    assert "| F0, cents | `mvc` - `attention` | +2.0 [+1.0, +3.0] | 0.500 | 4.0 | 1 |" in lines
    assert arm_values(Sources(root), "wer.conv") == "-5.0 [-9.0, -1.0]"
    assert arm_values(Sources(root), "conv.wer") == "15.0"
    assert arm_values(Sources(root), "conv.guarded") == "10.0"
    assert arm_values(Sources(root), "conv.seeds") == "2"
    assert arm_values(Sources(root), "utterances") == "5"
    assert arm_values(Sources(root), "system.mvc.wer") == "12.0"
    with pytest.raises(InputError, match=r"no value mvc_arms\.rnn\.wer"):
        arm_values(Sources(root), "rnn.wer")


def test_systems_without_prosody_have_empty_cells(root):
    lines = systems_table(Sources(root)).splitlines()
    assert lines[2].startswith("| `teacher` | 10.0 [5.0, 20.0] | 0.200 |  |  |")
    assert lines[3].startswith("| `mvc` | 12.0 [10.0, 20.0] | 0.100 | 2.50 | 2 | 2 |")


def test_files_that_do_not_hold_together_are_named(root):
    path = root / GRID / "compare.csv"
    whole = path.read_text()
    path.write_text(whole.replace(",mvc,", ",conv,"))
    with pytest.raises(InputError, match="compared with conv, not with mvc"):
        primary_table(Sources(root))
    path.write_text("\n".join(line for line in whole.splitlines() if ",bilstm," not in line))
    with pytest.raises(InputError, match="no difference of wer between mvc and bilstm"):
        primary_table(Sources(root))


def test_what_an_arm_of_one_seed_has_more_is_not_turned(root):
    header = "conditioning,seed,overrides,status,work,wer_corpus,wer_guarded"
    rows = [
        ("concat", 0, "", "done", "c", 0.4, 0.3),
        ("mvc", 0, "", "done", "m", 0.2, 0.2),
        ("mvc", 0, "sizes.lookahead=19", "done", "l", 0.1, 0.1),
        ("gated", 0, "", "left", "g", "", ""),
    ]
    write(root, f"{MODULES}/cells.csv", header, rows)
    gaps = "difference,difference_low,difference_high,p_holm"
    others = ("concat", "mvc-sizes.lookahead=19")
    words = [
        (measure, name, "mvc", 1, value, -0.1, 0.3, 0.2, 0.3)
        for name in others
        for measure, value in (("wer_guarded", 0.1), ("perfect", 0.05))
    ]
    last = "minimum_detectable_difference"
    write(root, f"{MODULES}/compare.csv", f"measure,system,baseline,seeds,{gaps},{last}", words)
    sound = [
        ("pyin", measure, name, "mvc", 1, 2.0, 1.0, 3.0, 0.01, 4)
        for measure in ("f0_rmse_cents", "contour_rmse_cents", "mcd_db")
        for name in others
    ]
    header = f"tracker,measure,system,baseline,seeds,{gaps},detectable"
    write(root, f"{MODULES}/prosody_compare.csv", header, sound)
    lines = modules_table(Sources(root)).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "`mvc`",
        "`mvc sizes.lookahead=19`",
        "`concat`",
    ]
    assert lines[4].startswith(
        "| `concat` | 40.0 | 30.0 | +10.0 [-10.0, +30.0] | +5.0 [-10.0, +30.0] | +2"
    )
    write(root, f"{MODULES}/compare.csv", f"measure,system,baseline,seeds,{gaps},{last}", words[:2])
    with pytest.raises(InputError, match=r"no difference of wer_guarded between mvc-sizes"):
        modules_table(Sources(root))
