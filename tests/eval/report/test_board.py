"""The board: what is ranked together, escaping, size."""

import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from eval.report.board.board import write_board
from eval.report.board.columns import further_columns, headline_columns
from eval.report.board.groups import make_groups
from eval.report.board.ratio_grid import grid_pictures
from eval.store.evaluations import find_evaluations
from eval.store.files import InputError, write_json
from tests.eval.made_up import RECIPES, WER_RECIPE, rows_with_errors, store_system, with_profile
from tests.eval.report.boards import QUIET, evaluation


def group_of(results: Path, baseline: str | None = None):
    [group] = make_groups(find_evaluations(results), baseline)
    return group


def test_what_may_not_be_ranked_stands_apart(board, tmp_path):
    groups = make_groups(find_evaluations(tmp_path / "results"), "teacher")
    assert [len(group.entries) for group in groups] == [5, 1]
    rates = [entry.line.wer.point for entry in groups[0].entries]
    assert rates == sorted(rates) and not groups[0].entries[0].line.differences
    assert groups[0].entries[1].line.differences["wer"].p_holm is not None
    assert not groups[1].entries[0].line.differences, "its baseline has another recogniser"
    page = board.read_text()
    assert page.count('<table class="board">') == 2
    assert "faster-whisper tiny.en" in page and "openai-whisper large-v3" in page
    assert page.count("30 sentences, 10 voices") == 2


@pytest.mark.parametrize(("profile", "first"), [("seedtts", "even"), ("whisper", "uneven")])
def test_the_order_is_that_of_the_profiles_headline(tmp_path, profile, first):
    """One short sentence all wrong moves the mean over sentences more than the corpus rate."""
    for name, wrong in (("even", 20), ("uneven", 0)):
        rows = rows_with_errors(name, 0, 0.0, 40, "text")
        row = rows[wrong]  # of 23 words or of 3
        errors = 5 if name == "even" else 3
        row |= {"substitutions": errors, "wer": errors / row["reference_words"]}
        evaluation(tmp_path, name, rows=rows, recipes=with_profile(profile))
    group = group_of(tmp_path)
    assert group.entries[0].one.name == first
    assert group.measures[0].name == {"seedtts": "wer_utterance_mean", "whisper": "wer"}[profile]
    page = write_board(tmp_path, tmp_path / "b", QUIET, title="t").read_text()
    heads = re.findall(r'<th scope="col" class="sortable"[^>]*aria-sort="ascending">([^<]*)<', page)
    assert heads == [group.measures[0].header]


def test_another_encoder_costs_its_own_column_only(tmp_path):
    evaluation(tmp_path, "base")
    evaluation(tmp_path, "same")
    evaluation(tmp_path, "other", recipes=RECIPES | {"sim": {"tool": "wavlm", "version": "1"}})
    group = group_of(tmp_path, "base")
    gaps = {entry.one.name: entry.line.differences.keys() for entry in group.entries}
    assert {"wer", "sim_prompt", "mos"} <= gaps["same"]
    assert {"wer", "mos"} <= gaps["other"] and "sim_prompt" not in gaps["other"]
    columns = {column.header: column for column in further_columns(group)}
    names = [entry.one.name for entry in group.entries]
    for tool, whose in (("ge2e", {"base", "same"}), ("wavlm", {"other"})):
        [column] = [column for h, column in columns.items() if h == f"SIM ({tool})"]
        valued = (cell.value is not None for cell in column.cells)
        assert {name for name, has in zip(names, valued, strict=True) if has} == whose
    assert "MOS" in columns, "its recipe is one"


def test_recordings_and_both_kinds_of_models_stand_in_one_table(tmp_path):
    """A MambaVoiceCloning model has parameters, and nothing else of a language model."""
    evaluation(tmp_path, "recordings", rate=0.0, card={"kind": "recordings"})
    evaluation(tmp_path, "teacher", rate=0.1)
    evaluation(
        tmp_path, "mvc", rate=0.2, card={"kind": "mvc", "arm": "mvc", "n_parameters": 4_550_000}
    )
    group = group_of(tmp_path, "teacher")
    names = [entry.one.name for entry in group.entries]
    assert names == ["recordings", "teacher", "mvc"]
    columns = {column.header: column.cells for column in further_columns(group)}
    cells = {header: dict(zip(names, own, strict=True)) for header, own in columns.items()}
    assert cells["params"]["mvc"].text == "4.55 M"
    assert cells["params"]["recordings"].value is None
    assert not [h for h in cells if "tokens" in h or "RTF" in h], "speed is stage=efficiency's"
    assert {"wer", "mos"} <= group.entries[2].line.differences.keys(), "compared all the same"
    page = write_board(tmp_path, tmp_path / "b", QUIET, baseline="teacher", title="t").read_text()
    rows = {
        name: re.search(rf"<tr[^>]*>(?:(?!</tr>).)*>{name}<.*?</tr>", page, re.DOTALL)
        for name in names
    }
    assert all(rows.values()) and page.count('<table class="board">') == 1


def test_two_versions_of_one_tool_are_told_apart(tmp_path):
    for version in ("1", "2"):
        evaluation(tmp_path, f"v{version}", recipes=RECIPES | {"mos": {"tool": "m", "v": version}})
    headers = [
        column.header for column in further_columns(group_of(tmp_path)) if "MOS" in column.header
    ]
    assert len(set(headers)) == 2 and all(re.fullmatch(r"MOS \(m \w{6}\)", h) for h in headers)


def test_leaving_out_a_metric_keeps_the_others_comparable(tmp_path):
    evaluation(tmp_path, "whole")
    rows = rows_with_errors("part", 0, 0.1, 30, "text")
    for row in rows:
        row["mos"] = None
    rows[0]["sim_prompt"] = None
    part = {name: recipe for name, recipe in RECIPES.items() if name != "mos"}
    evaluation(tmp_path, "part", rows=rows, recipes=part)
    group = group_of(tmp_path)
    columns = {column.header: column for column in further_columns(group)}
    here = [entry.one.name for entry in group.entries].index("part")
    assert columns["MOS"].cells[here].value is None
    assert columns["SIM"].cells[here].detail == "n 29", "a mean of fewer sentences says so"


def test_settled_is_what_holm_leaves(tmp_path):
    """Twenty systems that differ by chance and one that is worse: the one is marked."""
    evaluation(tmp_path, "base", rate=0.1)
    for number in range(8):
        evaluation(tmp_path, f"s{number}", rate=0.1)
    evaluation(tmp_path, "worse", rate=0.5)
    group = group_of(tmp_path, "base")
    cells = headline_columns(group)[1].cells
    marked = [e.one.name for e, cell in zip(group.entries, cells, strict=True) if cell.settled]
    assert marked == ["worse"]
    smallest = min(
        (entry.line.differences["wer"] for entry in group.entries if entry.line.differences),
        key=lambda gap: gap.p,
    )
    assert smallest.p_holm == pytest.approx(9 * smallest.p)
    page = write_board(tmp_path, tmp_path / "b", QUIET, title="t", baseline="base").read_text()
    assert page.count("point settled") == 1 and "stage=compare" in page


def test_the_grid_has_ratios_in_order_and_gaps_for_what_is_not_there(tmp_path):
    for name in ("1to3-blockbeg", "1to1-blockbeg", "1to1-kl", "teacher", "1to1-nowhere"):
        evaluation(tmp_path, name)
    [picture] = grid_pictures(group_of(tmp_path))
    assert list(picture.values.columns) == ["1to1", "1to3"]
    assert list(picture.values.index) == ["blockbeg", "kl"]
    assert np.isnan(picture.values.loc["kl", "1to3"]) and picture.variant == ""
    page = write_board(tmp_path, tmp_path / "b", QUIET, title="t").read_text()
    assert '<th scope="col">1:3</th>' in page


def test_default_names_of_students_fill_the_grid_and_variants_stay_apart(tmp_path):
    for name in ("1to1-blockbeg-calibrated-student", "1to3-kl-calibrated-student"):
        evaluation(tmp_path, name)
        evaluation(tmp_path, f"runs-mini_distill-{name}", rate=0.3)
    evaluation(tmp_path, "1to1-blockbeg-fresh-student")
    pictures = {picture.variant: picture.values for picture in grid_pictures(group_of(tmp_path))}
    assert len(pictures) == 2, "a variant with one cell has no picture"
    plain, prefixed = (
        pictures["-calibrated-student"],
        pictures["runs-mini_distill-…-calibrated-student"],
    )
    assert plain.loc["blockbeg", "1to1"] < prefixed.loc["blockbeg", "1to1"]


def test_works_of_a_grid_are_called_by_their_cells(tmp_path):
    """Every work calls its system `student`; two cells of one plan share a work."""
    cells = {"w1": ["1:1-blockbeg", "1:1-kl"], "w2": ["1:3-kl"]}
    for work, names in cells.items():
        rows = rows_with_errors(work, 0, 0.1, 30, "text")
        store_system(tmp_path / "grid/works" / work / "eval", "student", rows, wav_hz=300)
        for name in names:
            ratio, placement = name.split("-")
            where = ["paths=open", "trainer.precision=32-true"]  # no part of what it is
            cell = {"ratio": ratio, "placement": placement, "overrides": where, "work": work}
            write_json(tmp_path / f"grid/cells/{name}.json", cell)
    page = write_board(tmp_path, tmp_path / "b", QUIET, title="t", n_worst=1)
    names = {path.stem for path in (tmp_path / "b/systems").glob("*.html")}
    assert names == {"1to1-blockbeg", "1to1-kl", "1to3-kl"}
    assert 'class="heat"' in page.read_text()
    assert "data:audio/mpeg" in (tmp_path / "b/systems/1to1-kl.html").read_text()
    shutil.rmtree(tmp_path / "grid/cells")
    with pytest.raises(InputError, match="both called 'student'"):
        find_evaluations(tmp_path)


def test_everything_is_escaped_and_nothing_loaded_from_elsewhere(board):
    pages = [board, *sorted((board.parent / "systems").glob("*.html"))]
    assert len(pages) == 7
    for page in pages:
        content = page.read_text()
        assert "<b>x" not in content and 'alert("x")</script>' not in content
        assert not re.search(r"https?://|@import|url\((?!['\"]?(#|data:))", content)
        for link in re.findall(r'(?:href|src)="([^"]*)"', content):
            local = (page.parent / link).resolve()
            assert link.startswith(("data:", "#")) or local.is_file(), link
    assert "&lt;script&gt;" in pages[1].read_text()
    assert "<b>" not in (board.parent / "board.md").read_text()


def test_a_systems_page_has_its_worst_sentences_with_players_and_faults(board):
    page = (board.parent / "systems/teacher.html").read_text()
    assert page.count("<audio") == 3 == page.count("data:audio/mpeg")
    worst = page[page.index('id="worst"') :]
    rates = [int(n) for n in re.findall(r'class="chips">WER (\d+) %', worst)]
    assert rates == sorted(rates, reverse=True) and len(rates) == 3
    assert len(re.findall(r'class="fault fault-(?:substituted|loop|cut_short)"', worst)) == 3
    assert "3–5" in page and "31–45" in page
    assert (board.parent / "board.md").read_text().count("| teacher |") == 1


def test_what_a_second_recogniser_heard_stands_beside_the_first(tmp_path):
    rows = rows_with_errors("ours", 0, 0.2, 10, "the cat sat")
    heard = {"substitutions": 1, "deletions": 0, "insertions": 0}
    for row in rows:
        label = {"transcript": "the cat sang", "reference_words": row["reference_words"], **heard}
        row["hearings"] = {"base.en": label}
    recipes = RECIPES | {"wer:base.en": WER_RECIPE | {"recogniser": {"tool": "w", "model": "b"}}}
    evaluation(tmp_path, "ours", rows=rows, recipes=recipes)
    write_board(tmp_path, tmp_path / "b", QUIET, title="t", audio=False)
    page = (tmp_path / "b/systems/ours.html").read_text()
    assert page.count('class="other"') == 10 and 'title="instead of: sat">sang</span>' in page
    assert "WER % base.en" in (tmp_path / "b/index.html").read_text()


def test_faults_have_shares_with_intervals(board):
    page = board.read_text()
    table = page[page.index('<details class="faults">') :]
    row = re.search(r"<tr><td>1to1-kl</td>(.*?)</tr>", table)[1]
    cells = re.findall(r"<td>([^<]*)</td>", row)
    assert len(cells) == 3 and all(re.fullmatch(r"[\d.]+ \[[\d.]+, [\d.]+\]", c) for c in cells)
    assert "LUFS" in page and "words/s" in page and "tokens/s" not in page


def test_published_rows_are_shown_greyed_on_their_own_test_set_only(tmp_path):
    evaluation(tmp_path / "r", "ours", utterances=1088)
    page = write_board(tmp_path / "r", tmp_path / "b", QUIET, title="t").read_text()
    assert "not ranked" in page and "MamTra 1:11" in page and "F5-TTS" in page
    ranked = page[page.index('class="board"') : page.index("Published by others")]
    assert "F5-TTS" not in ranked


def test_seeds_have_pages_of_their_own(tmp_path):
    for seed in (0, 1):
        evaluation(tmp_path / "r", "ours", seed=seed)
    page = write_board(tmp_path / "r", tmp_path / "b", QUIET, title="t").read_text()
    assert ">seed</th>" in page and "ours-seed0-" in page and "ours-seed1-" in page
    text = (tmp_path / "b" / "board.md").read_text()
    assert text.count("| ours |") == 1 == text.count("| ours/1 |")
    assert len(list((tmp_path / "b/systems").glob("*.html"))) == 2


def test_names_that_begin_alike_are_shown_whole(tmp_path):
    names = ("1to11-oas-data=teacher_generated", "1to11-oas-data=teacher_generated-steps=640")
    for name in names:
        evaluation(tmp_path, name)
    page = write_board(tmp_path, tmp_path / "b", QUIET, title="t").read_text()
    assert "ellipsis" not in page and "overflow-wrap: anywhere" in page
    assert all(f">{name}</a>" in page for name in names)


def test_names_that_would_be_one_file_name_have_pages_each(tmp_path):
    for name in ("a b", "a_b", "50%", "A_B"):
        evaluation(tmp_path / "r", name)
    write_board(tmp_path / "r", tmp_path / "b", QUIET, title="t")
    pages = [path.name.casefold() for path in (tmp_path / "b/systems").glob("*.html")]
    assert len(set(pages)) == 4


def test_a_profile_of_another_version_is_named(tmp_path):
    evaluation(tmp_path / "[r]", "ours", recipes=with_profile("later"))
    with pytest.raises(InputError, match="profile 'later', which this program does not have"):
        write_board(tmp_path / "[r]", tmp_path / "b", QUIET, title="t")


def test_markup_in_names_reaches_the_console_as_it_is(tmp_path, capsys):
    evaluation(tmp_path / "r", "ours")
    write_board(
        tmp_path / "r", tmp_path / "[hifi]", Console(), title="t", baseline="[/bold] of nobody"
    )
    said = capsys.readouterr().out
    assert "baseline=[/bold] of nobody" in said and "[hifi]/index.html" in said


@pytest.mark.slow
def test_forty_systems_of_a_whole_test_set(tmp_path):
    for number in range(40):
        evaluation(tmp_path / "r", f"system {number}", utterances=1088)
    started = time.perf_counter()
    index = write_board(
        tmp_path / "r", tmp_path / "b", QUIET, title="t", baseline="system 0", audio=False
    )
    assert time.perf_counter() - started < 60
    assert index.stat().st_size < 2_000_000
    assert len(list((tmp_path / "b/systems").glob("*.html"))) == 40
