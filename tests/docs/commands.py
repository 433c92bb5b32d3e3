"""The commands and Python blocks of README and docs/, as a reader's shell would see them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(?P<language>[^\n]*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"(?<!`)`(?P<code>(?:[^`\n]|\n(?!\s*\n))+)`(?!`)")  # may go over a line's end
# What makes a line a command, in a block and in a span.
PROGRAMS = (
    "python",
    "make",
    "pip",
    "pytest",
    "git",
    "hf",
    "cd",
    "seq",
    "xargs",
    "torchrun",
    "sbatch",
)
COMMAND = re.compile(rf"(?:[A-Z_]+=\S* +)*(?:{'|'.join(PROGRAMS)})(?: |$)")
SETTINGS = re.compile(r"[A-Za-z_][\w./]*=\S")
SHELLS, PROSE = ("bash", "sh"), ("", "text", "csv", "yaml")


@dataclass(frozen=True)
class Snippet:
    """A piece of a document: `kind` is shell, settings or python; `code` as it stands there."""

    path: Path
    line: int
    kind: str
    code: str

    @property
    def place(self) -> str:
        """ "README.md:12"."""
        return f"{self.path.name}:{self.line}"


def snippets(path: Path, text: str) -> tuple[list[Snippet], list[str]]:
    """(what a document asks to be run or set, faults: blocks of an unknown language, commands in prose)."""
    found, faults = [], []

    def line(offset: int) -> int:
        return text.count("\n", 0, offset) + 1

    for fence in FENCE.finditer(text):
        language, start = fence["language"].strip(), line(fence.start()) + 1
        if " " in language:  # what is added to a file, which tests/docs/test_extending.py does
            continue
        if language == "python":
            found.append(Snippet(path, start, "python", fence["code"]))
        elif language in SHELLS:
            found += [
                Snippet(path, start + number, "shell", command)
                for number, command in logical_lines(fence["code"])
            ]
        elif language not in PROSE:
            faults.append(f"{path.name}:{start}: a block of {language}, which no test runs")
        elif any(COMMAND.match(row.strip()) for row in fence["code"].splitlines()):
            faults.append(f"{path.name}:{start}: a command in a block that is not ```bash")
    # Fences blanked out, so that offsets stay.
    prose = FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    for span in SPAN.finditer(prose):
        code = " ".join(span["code"].replace("\\|", "|").split())
        if COMMAND.match(code):
            found.append(Snippet(path, line(span.start()), "shell", code))
        elif SETTINGS.match(code):
            found.append(Snippet(path, line(span.start()), "settings", code))
    return found, faults


def logical_lines(code: str) -> list[tuple[int, str]]:
    """(line in the block, command), continued lines joined; comments and empty lines left out."""
    rows, lines = [], code.splitlines()
    number = 0
    while number < len(lines):
        start, whole = number, lines[number]
        while whole.endswith("\\") and number + 1 < len(lines):
            number += 1
            whole = whole[:-1] + lines[number]
        number += 1
        if shlex.split(whole, comments=True):
            rows.append((start, whole))
    return rows


def words_of(command: str) -> list[list[str]]:
    """The commands of a line as a shell splits them, environment settings dropped.

    Raises ValueError for quotes that do not close, and for what a shell would do more than run them
    (redirections, substitutions, globs of words that are not quoted).
    """
    lexer = shlex.shlex(command, posix=True, punctuation_chars=";&|<>()")
    lexer.whitespace_split, lexer.commenters = True, "#"
    parts: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(";&|"):
            parts.append([])
        elif set(word) <= set("<>()"):
            raise ValueError(f"{command}: {word} is not for a document")
        else:
            parts[-1].append(word)
    if re.search(r"[*?$`{]", unquoted(command)):
        raise ValueError(f"{command}: a shell would expand what is not in quotes")
    return [strip_environment(part) for part in parts if part]


def unquoted(command: str) -> str:
    """The command without what stands in quotes and comments."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", command)
    return re.sub(r"(^|\s)#.*$", "", bare)


def strip_environment(words: list[str]) -> list[str]:
    """`A=1 make test` -> `make test`."""
    first = next((n for n, w in enumerate(words) if not re.match(r"[A-Z_]+=", w)), len(words))
    return words[first:]
