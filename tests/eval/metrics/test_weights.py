"""Hashes of weights and of code: what they depend on, and what is not done twice."""

import os

import pytest

from eval.metrics import weights
from eval.metrics.weights import Unavailable, code_sha256, file_sha256, require, revision


@pytest.fixture(autouse=True)
def notes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/mamtra/weights.json"


def test_a_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    file = tmp_path / "w [1].bin"
    file.write_bytes(b"one")
    reads = []
    digest = weights.hashlib.file_digest
    monkeypatch.setattr(weights.hashlib, "file_digest", lambda *a: reads.append(a) or digest(*a))
    first = file_sha256(file)
    assert file_sha256(file) == first and len(reads) == 1
    file.write_bytes(b"two")
    os.utime(file, ns=(0, 1))  # also where the clock of the file system is coarse
    assert file_sha256(file) != first and len(reads) == 2
    assert revision(file) == revision(file) and len(reads) == 2


@pytest.mark.parametrize("content", ["{ half", "[]", '{"x": 1}', "null"])
def test_damaged_notes_cost_time_only(tmp_path, notes, content):
    file = tmp_path / "w.bin"
    file.write_bytes(b"one")
    first = file_sha256(file)
    notes.write_text(content.replace('"x"', f'"{file.resolve()}"'))
    assert file_sha256(file) == first == file_sha256(file)


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path, monkeypatch):
    (tmp_path / "blocked").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "blocked"))
    (tmp_path / "w.bin").write_bytes(b"one")
    assert len(file_sha256(tmp_path / "w.bin")) == 64


def test_comments_and_docstrings_are_no_code(tmp_path):
    texts = [
        '"""One."""\ndef f(x):\n    return x + 1\n',
        '"""Two, longer."""\n# why\ndef f(x):\n    """Doc."""\n\n    return x + 1  # so\n',
        '"""One."""\ndef f(x):\n    return x + 2\n',
    ]
    for i, text in enumerate(texts):
        (tmp_path / f"{i}.py").write_text(text)
    first, second, third = (code_sha256(str(tmp_path / f"{i}.py")) for i in range(3))
    assert first == second != third


def test_a_missing_package_is_named_with_what_installs_it():
    with pytest.raises(
        Unavailable, match=r"asr=x needs no_such_package: pip install 'mamtra\[zh\]'"
    ):
        require("asr=x", "numpy", "no_such_package", extra="zh")


# Python 3.12 unparses the f-string otherwise than 3.11, and gives functions and classes `type_params`.
SNIPPET = """
class Voice:
    def said(self, text: str, *, seed: int = 0) -> str:
        names = {"a": 1, 'b': None}
        return f"{text!r:>{seed}} isn't \\n {names['a']}" if text else u"nothing"
"""


def test_a_hash_is_that_of_every_python(tmp_path):
    """Evaluations made under two versions of Python may be compared."""
    (tmp_path / "voice.py").write_text(SNIPPET)
    assert code_sha256(str(tmp_path / "voice.py")) == "e859b69a4c61"
    tree = weights.ast.parse(SNIPPET)
    before = weights._structure(tree)
    for node in weights.ast.walk(tree):
        if isinstance(node, weights.ast.FunctionDef | weights.ast.ClassDef):
            node.type_params = []  # as 3.12 reads it
            node._fields = (*type(node)._fields, "type_params")
    assert weights._structure(tree) == before
