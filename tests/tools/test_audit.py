"""The audit fails for what is vulnerable and for what nobody could say; the bill of materials is written."""

import json

import pytest

from tools import audit

FINE = {"name": "torch", "version": "2.11.0", "vulns": []}
OURS = {"name": "mamtra", "skip_reason": "not found"}
FLAW = {"id": "PYSEC-1", "fix_versions": ["3.0"], "aliases": [], "description": ""}


def said(*dependencies) -> str:
    return json.dumps({"dependencies": dependencies})


def test_clean_is_what_was_asked_about_and_has_no_flaw():
    assert audit.verdict(said(FINE, OURS), "") == []


@pytest.mark.parametrize(
    ("printed", "stderr", "reason"),
    [
        (said(FINE | {"vulns": [FLAW]}), "", "torch 2.11.0: PYSEC-1, fixed in 3.0"),
        (said(FINE, {"name": "x", "skip_reason": "not on PyPI"}), "", "nothing is known of 1 of 2"),
        ("", "Traceback\nConnectionError: no route", "could not be asked: ConnectionError"),
        ("", "", "could not be asked: no answer"),
    ],
)
def test_what_is_vulnerable_or_unknown_fails(
    printed, stderr, reason, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(audit, "ask_database", lambda python: (printed, stderr))

    def sbom(python, out):
        (out / "sbom.json").write_text("{}")
        return 3

    monkeypatch.setattr(audit, "write_sbom", sbom)
    assert audit.main(["python=python", f"out={tmp_path / 'new'}"]) == 1
    assert reason in capsys.readouterr().err
    assert (tmp_path / "new/sbom.json").exists()
