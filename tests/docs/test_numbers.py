"""README and docs/ say what the committed results say, and no measured number stands there by hand."""

import re

import pytest

from studies.documents.markers import without_places
from studies.results import read_results
from studies.tables import faults
from tests.docs.commands import DOCUMENTS, ROOT

# A measured number has a decimal point or a per cent sign.
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)? ?%|[+-]?\d+\.\d+(?![\d.])")
NOT_PROSE = re.compile(r"`[^`]+`|\]\([^)]*\)|<!--.*?-->")
# What is not measured here, with the reason.
ALLOWED = {
    "WER 100 %": "the policy for a file without speech",
    "95 % interval": "the level of an interval",
    "with 80 % power": "the power of `detectable`",
    "published with 2.03, 2.38, 2.57, 3.09 and 3.24 %": "published by others, results/published",
    "teacher + 0.25 points": "a target",
    "DistillMOS at least 3.3": "a target",
    "BS.1770": "the name of a standard",
    "CosyVoice2-0.5B": "the name of a model",
    "(2.3 GB)": "a size of a download",
}


def numbers_by_hand(text: str) -> list[tuple[int, str]]:
    """(line, number) of what stands outside marks, code and links, and is not allowed."""
    found = []
    for line, row in enumerate(without_places(text).splitlines(), 1):
        prose = NOT_PROSE.sub("", row)
        for part in ALLOWED:
            prose = prose.replace(part, "")
        found += [(line, number) for number in NUMBER.findall(prose)]
    return found


def test_the_documents_are_what_the_results_say():
    assert faults(ROOT) == []


def test_what_is_said_of_layers_holds():
    """README and docs/grid.md: the plans that speak are those that keep one of the layers 5 to 8."""
    plans = read_results(ROOT / "results" / "mini-grammar" / "grid").done().query("ratio != '1to0'")
    for _, cell in plans.iterrows():
        assert ("A" in cell["plan"][5:9]) == (cell["wer_corpus"] < 0.5), cell["plan"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_measured_number_stands_there_by_hand(path):
    assert numbers_by_hand(path.read_text(encoding="utf-8")) == []


def test_every_exception_is_used():
    whole = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    assert [part for part in ALLOWED if part not in whole] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("WER is 13.64 %", [(1, "13.64 %")]),
        ("a\n\nfrom 5 % on, +0.41 points", [(3, "5 %"), (3, "+0.41")]),
        ("version `1.2` in [a](b/3.4.md), table 3, 300 sentences, 10,000 steps", []),
        ("<!-- v: a -->13.64<!-- end --> and 7.2", [(1, "7.2")]),
        ("<!-- table: a -->\n| 3.4 |\n<!-- end -->\n3.5", [(4, "3.5")]),
        ("```\n3.4 %\n```", []),
    ],
)
def test_what_counts_as_a_number(text, found):
    assert numbers_by_hand(text) == found
