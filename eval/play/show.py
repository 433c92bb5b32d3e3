"""Views as HTML: one line of status, and a column for each system."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader

from eval.play.session import View
from eval.report.html import environment


@cache
def templates() -> Environment:
    """Those of this folder, which take their macros from the report's."""
    made = environment()
    made.loader = ChoiceLoader([PackageLoader("eval.play"), PackageLoader("eval.report")])
    return made


def status(view: View) -> str:
    """What is going on, or what is wrong."""
    return templates().get_template("status.html.j2").render(view=view)


def columns(view: View, url: Callable[[Path], str]) -> str:
    """The systems side by side; `url` of a file that was written."""
    return templates().get_template("columns.html.j2").render(view=view, url=url)


def style() -> str:
    """The report's style, for the inside of one element."""
    report = files("eval.report").joinpath("templates/style.css").read_text(encoding="utf-8")
    own = files("eval.play").joinpath("templates/play.css").read_text(encoding="utf-8")
    return report.replace(":root", "&") + own
