"""MambaVoiceCloning beside the teacher on the whole list, and beside the published tables."""

import csv
import re

import pytest

from eval.store.files import InputError
from studies.documents.mvc_here import published_here_table, whole_list_table, whole_values
from studies.documents.mvc_targets import WHOLE_LIST
from studies.documents.sources import Sources
from tests.shipped import OPEN

ROOT = OPEN.parents[1]
SOURCES = Sources(ROOT)


def test_both_systems_have_every_column_and_the_codec_no_difference():
    lines = whole_list_table(SOURCES).splitlines()
    rows = {
        row[0]: row[1:] for row in ([c.strip() for c in line.split("|")[1:-1]] for line in lines)
    }
    assert rows["`teacher`"][0] == rows["`mvc`"][0] == "600"
    assert rows["`teacher`"][2] == "" and rows["`codec`"][2] == "", (
        "a baseline, and other sentences"
    )
    assert all(rows["`mvc`"]) and rows["`teacher`"][5] and not rows["`codec`"][5]
    stored = {row["system"]: row for row in csv.DictReader((ROOT / WHOLE_LIST).open())}
    assert rows["`mvc`"][1].startswith(f"{100 * float(stored['mvc']['wer_corpus']):.1f} [")
    assert whole_values(SOURCES, "mvc") == rows["`mvc`"][1]
    assert whole_values(SOURCES, "mvc.gap") == rows["`mvc`"][2]
    assert whole_values(SOURCES, "teacher.n") == "600"
    for name in ("nobody", "mvc.mos"):
        with pytest.raises(InputError, match=f"no value whole_list.{name}"):
            whole_values(SOURCES, name)


def test_every_published_table_has_something_beside_it():
    published = {
        row["table"] for row in csv.DictReader((ROOT / "results/paper/mvc_tables.csv").open())
    }
    beside = set(re.findall(r"^\| (\d+) \|", published_here_table(SOURCES), re.MULTILINE))
    assert published == beside
