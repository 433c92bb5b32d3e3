"""Every command of README and docs/ composes, every Python block runs, and nothing goes unseen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.commands import DOCUMENTS, ROOT, Snippet, snippets, words_of
from tests.docs.composing import Refused, check, check_settings

FOUND = [snippets(path, path.read_text(encoding="utf-8")) for path in DOCUMENTS]
ALL = [snippet for part, _ in FOUND for snippet in part]
FAULTS = [fault for _, part in FOUND for fault in part]


def of(kind: str) -> list:
    """The snippets of a kind, each command once, as parameters."""
    once = {one.code: one for one in reversed(ALL) if one.kind == kind}
    return [pytest.param(one, id=f"{one.place}-{one.code[:40]}") for one in once.values()]


def test_the_documents_are_there_and_nothing_in_them_goes_unseen():
    names = {path.stem for path in DOCUMENTS}
    assert names >= {"README", "mini", "grid", "evaluation", "paper_scale", "results", "extending"}
    assert FAULTS == []
    assert len(of("shell")) > 40 and len(of("python")) >= 2


@pytest.mark.parametrize("snippet", of("shell"))
def test_a_command_is_accepted(snippet: Snippet):
    for words in words_of(snippet.code):
        check(words)


@pytest.mark.parametrize("snippet", of("settings"))
def test_settings_in_prose_are_accepted_by_some_command(snippet: Snippet):
    [words] = words_of(snippet.code)
    check_settings(words)


@pytest.mark.slow
@pytest.mark.parametrize("snippet", of("python"))
def test_a_python_block_runs(snippet: Snippet, tmp_path):
    # Blocks read assets/ and write where the reader stands.
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    (tmp_path / "results").symlink_to(ROOT / "results")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", snippet.code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_help_of_a_stage_is_printed():
    command = [sys.executable, "evaluate.py", "stage=compare", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "baseline: null" in done.stdout


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("python train.py experiment=mini_distill ratio=9to9", "1to11"),
        ("python train.py experiment=mini_distill stepz=3", "stepz"),
        ("python train.py experiment=mini_distill steps=many", "should be a valid integer"),
        ("python train.py -m experiment=mini_grid placement=kl,top", "top"),
        ("python evaluate.py stage=compare asr=x", "has no key asr"),
        ("python evaluate.py limit=ten", "should be a valid integer"),
        ("python evaluate.py speaker=wavlm=x.pth", "unknown speaker|wavlm"),
        ("python evaluate.py asr=openai:", "unknown recogniser"),
        ("python evaluate.py testset=seedtts_zh", "for zh: asr=paraformer"),
        ("python importance.py mode=klx", "klx"),
        ("python -m data.test_lists root=x", "missing argument out"),
        ("python -m studies.results grid=x outt=y", "outt"),
        ("python -m data.no_such_thing", "no such module"),
        ("python setup.py", "setup.py"),
        ("make demonstration", "no demonstration"),
        ("make grid JOBZ=3", "no JOBZ"),
        ("pytest tests/nowhere", "no such file"),
        ("pytest -m quick", "no such marker"),
        ("pip install '.[gpu]'", "no extra gpu"),
        ("conda activate x", "no test knows"),
        ("torchrun --nproc_per_node=2 evaluate.py", "train.py"),
    ],
)
def test_a_command_that_would_fail_is_refused(command, why):
    [words] = words_of(command)
    with pytest.raises(Refused, match=why):
        check(words)


@pytest.mark.parametrize(
    "command", ["python evaluate.py models={a: b}", "make demo > log", "echo $HOME", "cat 'x"]
)
def test_what_a_shell_would_read_otherwise_is_refused(command):
    with pytest.raises(ValueError):
        words_of(command)


@pytest.mark.parametrize("settings", ["speaker=wavlm=x nonsense=1", "ratioo=1to1"])
def test_settings_that_no_command_takes_are_refused(settings):
    with pytest.raises(Refused, match="no command takes"):
        check_settings(settings.split())


def test_what_is_extracted():
    text = "\n".join(
        [
            "Say `make demo` or `python",
            "evaluate.py` or `ratio=1to1`, not `make_it` nor `a == b`.",
            "```bash",
            "A=1 make test   # all of it",
            "python -m data.tokenise corpus=c \\",
            "    out=o && make demo",
            "```",
            "```python",
            "print(1)",
            "```",
            "| `python train.py a=1,2 \\| x` |",
            "```ruby",
            "```",
            "```",
            "python hidden.py",
            "```",
        ]
    )
    found, faults = snippets(Path("a.md"), text)
    assert [(one.line, one.kind) for one in found if one.kind != "shell"] == [
        (8 + 1, "python"),
        (2, "settings"),
    ]
    shell = [word for one in found if one.kind == "shell" for word in words_of(one.code)]
    assert shell[:3] == [
        ["make", "test"],
        ["python", "-m", "data.tokenise", "corpus=c", "out=o"],
        ["make", "demo"],
    ]
    assert ["python", "evaluate.py"] in shell and ["python", "train.py", "a=1,2"] in shell
    assert len(faults) == 2 and "ruby" in faults[0] and "not ```bash" in faults[1]
