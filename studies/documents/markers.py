"""Places in Markdown that a command writes: between markers that a reader does not see.

    <!-- table: NAME -->                 a block: any lines
    <!-- end -->
    <!-- v: NAME -->13.64<!-- end -->    a value within a line

Markers inside code fences are code.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from eval.store.files import InputError

PLACE = re.compile(
    r"^```.*?^```$"
    r"|<!-- table: (?P<block>[^\n<>]*?) -->\n(?:(?!<!-- ).)*?<!-- end -->"
    r"|<!-- v: (?P<value>[^\n<>]*?) -->(?:(?!<!-- )[^\n])*?<!-- end -->"
    r"|(?P<stray><!-- (?:table:|v:|end\b)[^\n]*?-->)",
    re.DOTALL | re.MULTILINE,
)


def names_in(text: str) -> tuple[list[str], list[str]]:
    """(blocks, values) that a text asks for."""
    found = list(PLACE.finditer(text))
    return [m["block"] for m in found if m["block"]], [m["value"] for m in found if m["value"]]


def without_places(text: str) -> str:
    """The text without its generated places and code fences, line by line where it was."""
    return PLACE.sub(lambda match: "\n" * match[0].count("\n"), text)


def rewritten(
    text: str, name: str, block: Callable[[str], str], value: Callable[[str], str]
) -> str:
    """The text with what stands between its markers made anew.

    Raises:
        InputError: a marker without its partner, or an error of `block` or `value`, with file and line.
    """

    def made(match: re.Match[str]) -> str:
        line = text.count("\n", 0, match.start()) + 1
        if match["stray"]:
            raise InputError(f"{name}:{line}: {match['stray']} lacks its other half")
        try:
            if match["block"]:
                asked = match["block"]
                return f"<!-- table: {asked} -->\n{block(asked)}\n<!-- end -->"
            if match["value"]:
                asked = match["value"]
                return f"<!-- v: {asked} -->{value(asked)}<!-- end -->"
        except InputError as error:
            raise InputError(f"{name}:{line}: {error}") from error
        return match[0]

    return PLACE.sub(made, text)
