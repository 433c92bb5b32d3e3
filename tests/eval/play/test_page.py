"""The page in a browser: what a reader does, and what must not happen meanwhile.

One server for all; everything on it goes one after the other, as on a reader's machine.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from tests.devtools import Tab, leaving
from tests.eval.play.conftest import VOICE

ROOT = Path(__file__).parents[3]
WAIT_S = 300.0  # of a machine that does other things
# evaluate.py, saying so when it asks another machine for something.
GUARDED = """
import runpy, socket, sys
connect, look_up = socket.socket.connect, socket.getaddrinfo
def own(host):
    if host not in ("127.0.0.1", "localhost", None):
        print("LEAVES", host, flush=True)
def connect_and_say(self, address):
    own(address[0] if isinstance(address, tuple) else None)
    return connect(self, address)
def look_up_and_say(host, *args, **options):
    own(host)
    return look_up(host, *args, **options)
socket.socket.connect, socket.getaddrinfo = connect_and_say, look_up_and_say
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
AUDIO = "[...document.querySelectorAll('#result audio')]"
STATE = "document.querySelector('#state').innerText"
LONG = "my brother painted the old bridge. " * 100

pytestmark = [pytest.mark.slow, pytest.mark.weights]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """`python evaluate.py stage=play` on a free port."""

    def __init__(self, folder: Path) -> None:
        self.log, self.scratch = folder / "log", folder / "scratch"
        self.scratch.mkdir()
        command = [sys.executable, "-c", GUARDED, str(ROOT / "evaluate.py"), "stage=play"]
        command += [
            f"port={free_port()}",
            f"paths.runs={folder}",
            "model=assets/mini/teacher",
            "threads=1",
        ]
        with self.log.open("w") as stream:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=os.environ | {"TMPDIR": str(self.scratch)},
                # A shell's background job ignores Ctrl-C, and so would all that it starts.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        self.url = self.said(r"http://127\.0\.0\.1:\d+/")

    def said(self, pattern: str) -> str:
        """What it prints, as soon as it does."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(pattern, self.log.read_text()):
                return found[0]
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pytest.importorskip("gradio", reason="no gradio: pip install -e '.[play]'")
    made = Server(tmp_path_factory.mktemp("server"))
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait()


@pytest.fixture
def open_tab(server, tmp_path):
    """Opens tabs of browsers of their own; none may have asked another machine or printed an error."""
    tabs = []

    def open_one(microphone: Path | None = None) -> Tab:
        tabs.append(tab := Tab(tmp_path / f"profile{len(tabs)}", microphone=microphone))
        tab.ask("Page.navigate", url=server.url)
        for part in ("#text textarea", "#speak"):
            tab.wait(f"document.querySelector({part!r}) !== null", WAIT_S)
        return tab

    yield open_one
    wrong = [(tab.console, leaving(tab.requests)) for tab in tabs]
    for tab in tabs:
        tab.close()
    assert wrong == [([], [])] * len(tabs)


def speak(tab: Tab, text: str) -> None:
    tab.type("#text textarea", text)
    tab.run("document.querySelector('#speak').click()")


def heard(tab: Tab) -> str:
    return tab.run("[...document.querySelectorAll('.heard')].map(one => one.innerText).join(' ')")


def test_a_sentence_is_typed_and_heard(server, open_tab):
    tab = open_tab()
    speak(tab, "our tiger disappeared inside the island. my brother painted the old bridge")
    tab.wait(f"{AUDIO}.length == 2 && {STATE}.includes('done')", WAIT_S)
    tab.wait(f"{AUDIO}.every(one => one.duration > 0.5)")
    assert tab.run("document.querySelectorAll('.layer.attention').length") == 12
    words = heard(tab).lower().split()
    assert {"brother", "bridge"} & set(words), words
    tab.wait(f"{AUDIO}.some(one => one.currentTime > 0.2)")  # the first system plays by itself
    # Bad input, then good input again: the page lives on.
    speak(tab, "hello 😀")
    tab.wait(f"{STATE}.includes('character')", WAIT_S)
    speak(tab, "go home")
    tab.wait(f"{AUDIO}.length == 1 && {STATE}.includes('done')", WAIT_S)


def test_a_prompt_is_uploaded_and_its_words_are_written_down(server, open_tab, tmp_path):
    wave, rate_hz = soundfile.read(VOICE, dtype="float32")
    wave = soxr.resample(wave, rate_hz, 48_000)
    soundfile.write(tmp_path / "mine.wav", np.stack([wave, wave], axis=1), 48_000)
    soundfile.write(tmp_path / "silence.wav", np.zeros(48_000), 16_000)
    tab = open_tab()
    box = "document.querySelector('#words textarea, #words input').value"
    before = tab.run(box)
    for file in ("silence.wav", "mine.wav"):
        tab.run("document.querySelector('#prompt button[aria-label=Clear]').click()")
        tab.wait("document.querySelector('#prompt input[type=file]') !== null", WAIT_S)
        tab.give_file("#prompt input[type=file]", tmp_path / file)
        if file == "silence.wav":
            tab.wait(f"{STATE}.includes('the prompt is silent')", WAIT_S)
    tab.wait(f"{box}.length > 10", WAIT_S)
    assert tab.run(box) != before


def test_a_prompt_is_recorded_and_its_words_are_written_down(server, open_tab, tmp_path):
    wave, rate_hz = soundfile.read(VOICE, dtype="float32")
    soundfile.write(tmp_path / "mine.wav", soxr.resample(wave, rate_hz, 48_000), 48_000, "PCM_16")
    tab = open_tab(tmp_path / "mine.wav")
    box = "document.querySelector('#words textarea, #words input').value"
    before = tab.run(box)
    tab.run("document.querySelector('#prompt button[aria-label=Clear]').click()")
    tab.wait("document.querySelector('#prompt input[type=file]') !== null", WAIT_S)
    tab.run("document.querySelector('#prompt button[aria-label=\"Record audio\"]').click()")
    tab.wait("document.querySelector('#prompt .record-button') !== null", WAIT_S)
    tab.run("document.querySelector('#prompt .record-button').click()")
    tab.wait("document.querySelector('#prompt .stop-button') !== null", WAIT_S)
    time.sleep(5.0)
    tab.run("document.querySelector('#prompt .stop-button').click()")
    tab.wait(f"{box}.length > 10 && {box} != {before!r}", WAIT_S)
    assert "spider" in tab.run(box).lower()
    speak(tab, "go home")
    tab.wait(f"{AUDIO}.length == 1 && {STATE}.includes('done')", WAIT_S)


def test_clicks_wait_in_line_and_a_closed_tab_ends_its_work(server, open_tab):
    first, second = open_tab(), open_tab()
    speak(first, LONG)
    first.wait(f"{AUDIO}.length >= 1", WAIT_S)
    speak(second, "go home")
    time.sleep(1.0)
    assert second.run(f"{AUDIO}.length") == 0, "one at a time"
    first.close_tab()
    second.wait(f"{AUDIO}.length == 1 && {STATE}.includes('done')", WAIT_S)


def test_stop_and_ctrl_c_end_what_is_at_work(server, open_tab):
    tab = open_tab()
    speak(tab, LONG)
    tab.wait(f"{AUDIO}.length >= 1", WAIT_S)
    tab.run("document.querySelector('#stop').click()")
    tab.wait(f"{STATE}.includes('stopped')", WAIT_S)
    speak(tab, LONG)
    tab.wait(f"{STATE}.includes('speaks')", WAIT_S)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0
    log = server.log.read_text()
    assert log.rstrip().endswith("closed") and "Traceback" not in log and "LEAVES" not in log
    assert not list(server.scratch.glob("mamtra-play-*")), "what was recorded does not stay"
    tab.console.clear()  # the browser's own line about a server that is gone
