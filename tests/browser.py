"""A page in headless Chromium: what a script finds there, without console errors."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SWITCHES = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--autoplay-policy=no-user-gesture-required",
)


def find_browser() -> str:
    """Its program; skips the test without one."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip(f"no browser on the PATH (one of {', '.join(names)})")
    return browser


def in_browser(page: Path, script: str, profile: Path, width: int = 1280) -> dict:
    """The JSON that `script` (an async function body) returns on the page; `profile` keeps its localStorage.

    Skips without a browser; fails on anything that the page reports to the console as wrong.
    """
    browser = find_browser()
    copy = page.with_name("probe.html")
    probe = (
        f"<script>(async () => {{ {script} }})().then(r => "
        "document.documentElement.dataset.found = JSON.stringify(r))</script>"
    )
    copy.write_text(page.read_text().replace("</body>", probe + "</body>"))
    command = [
        *(browser, "--headless", *SWITCHES, "--enable-logging=stderr"),
        *(f"--user-data-dir={profile}", f"--window-size={width},900"),
        *("--virtual-time-budget=8000", "--dump-dom", copy.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    copy.unlink()
    wrong = re.findall(r"CONSOLE.*(?:rror|Uncaught|Refused|Failed).*", done.stderr)
    assert not wrong, wrong
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))
