"""README and docs/: short enough to read, and everything that they point to is there."""

import re

import pytest

from tests.docs.commands import DOCUMENTS, FENCE, ROOT, SPAN

LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
FOLDERS = ("assets", "configs", "data", "docs", "eval", "lightning_modules", "mamtra", "notebooks")
FOLDERS += ("results", "settings", "studies", "tests", "tools")
# Made by a command of the document that names them.
MADE = ("data/LibriTTS", "data/seedtts_testset")
README_LINES, LINE_LENGTH, PICTURE_BYTES = 200, 160, 300_000


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_lines_are_short(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [(n, len(line)) for n, line in enumerate(lines, 1) if len(line) >= LINE_LENGTH] == []
    assert path.name != "README.md" or len(lines) <= README_LINES


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_are_there(path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for target, anchor in LINK.findall(text):
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [title.lower().replace(" ", "-") for title in titles]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_are_there(path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    named = [m["code"] for m in SPAN.finditer(text)]
    paths = [name for name in named if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", name)]
    assert [name for name in paths if name not in MADE and not (ROOT / name).exists()] == []


def test_pictures_are_small():
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs" / "figures").iterdir()}
    assert "board.png" in sizes
    assert {name: size for name, size in sizes.items() if size >= PICTURE_BYTES} == {}
