"""The page itself, by gradio, and its server: on 127.0.0.1 alone, with nothing from elsewhere."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before gradio is imported: nobody is told that it is used.
os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}

import gradio as gr
from gradio.themes import Base, Font
from rich.console import Console

from eval.play import show
from eval.play.session import Studio, View
from eval.store.files import InputError
from eval.testset import Item

HOST = "127.0.0.1"
OWN = "your own: upload or record one"
FONT = [Font("system-ui"), Font("sans-serif")]  # the browser's, none is fetched
MONO = [Font("ui-monospace"), Font("monospace")]
CHOSEN_AT_FIRST = 2  # systems
MAX_UPLOAD = "20mb"  # thirty seconds of stereo at 48 kHz in float32 are 11.5

# Plays the first column's pieces one after the other as they come; a player that is used by hand ends that.
PLAY_ON = """
let at = 0, playing = null;
const aloud = () => document.querySelector('#aloud input').checked;
const clips = () => [...element.querySelectorAll('.column:first-child audio')];
const next = () => {
  const all = clips();
  if (all.length < at) at = 0;
  if (playing || !aloud() || at >= all.length) return;
  playing = all[at++];
  playing.onended = () => { playing = null; next(); };
  playing.onpause = () => { if (playing && !playing.ended) playing = null; };
  playing.play().catch(() => { playing = null; });
};
watch('value', next);
"""


@dataclass(frozen=True)
class Page:
    """What the page is made of: `voices` by label, the `text` that stands there at first."""

    studio: Studio
    voices: Mapping[str, Item]
    text: str

    def build(self) -> gr.Blocks:
        """The page with everything that happens on it."""
        names, labels = list(self.studio.systems.models), list(self.voices)
        first = self.voices[labels[0]] if labels else None
        with gr.Blocks(analytics_enabled=False, title="MamTra: play") as page:
            gr.Markdown("# Type a sentence, choose a voice, hear the systems side by side")
            with gr.Row():
                with gr.Column():
                    text = gr.Textbox(value=self.text, label="Text", lines=4, elem_id="text")
                    systems = gr.Dropdown(
                        names,
                        value=names[:CHOSEN_AT_FIRST],
                        multiselect=True,
                        label="Systems",
                        elem_id="systems",
                    )
                    with gr.Row():
                        seed = gr.Number(value=0, label="Seed", precision=0, minimum=0)
                        gr.Checkbox(
                            value=True, label="Play the first system aloud", elem_id="aloud"
                        )
                with gr.Column():
                    voice = gr.Dropdown(
                        [*labels, OWN], value=labels[0] if labels else OWN, label="Voice"
                    )
                    prompt = gr.Audio(
                        value=first and str(first.prompt_wav),
                        sources=["upload", "microphone"],
                        type="filepath",
                        label="Prompt: 1 to 30 s of one voice",
                        buttons=[],  # none that shares it
                        elem_id="prompt",
                    )
                    words = gr.Textbox(
                        value=first.prompt_text if first else "",
                        label="What is said in the prompt (empty: the recogniser listens)",
                        elem_id="words",
                    )
            with gr.Row():
                speak = gr.Button("Speak", variant="primary", elem_id="speak")
                stop = gr.Button("Stop", elem_id="stop")
            state = gr.HTML(elem_id="state", css_template=show.style(), js_on_load=None)
            result = gr.HTML(elem_id="result", css_template=show.style(), js_on_load=PLAY_ON)

            # One at a time, whoever clicks: the others wait in line.
            own: dict[str, Any] = {"api_visibility": "private"}  # a page, no service
            line = own | {"concurrency_id": "speech", "concurrency_limit": 1}
            speak.click(
                self.speak,
                [systems, text, prompt, words, seed],
                [words, state, result],
                trigger_mode="multiple",
                show_progress="minimal",
                show_progress_on=state,
                **line,
            )
            stop.click(self.stop, queue=False, **own)
            voice.input(self.choose, voice, [prompt, words], queue=False, **own)
            gr.on(
                [prompt.upload, prompt.stop_recording],
                self.listen,
                prompt,
                [voice, words, state],
                show_progress_on=words,
                **line,
            )
            prompt.clear(lambda: (OWN, ""), outputs=[voice, words], queue=False, **own)
            page.unload(self.leave)
        return page

    def speak(
        self,
        names: list[str],
        text: str,
        prompt: str | None,
        words: str,
        seed: float | None,
        request: gr.Request,
    ) -> Iterator[tuple[Any, str, str]]:
        """(words of the prompt, status, columns) again and again while it speaks."""
        given = (names or [], text or "", prompt, words or "", int(seed or 0))
        for view in self.studio.speak(str(request.session_hash), *given):
            # What the reader types meanwhile stays.
            shown = gr.skip() if view.prompt_text == words else view.prompt_text
            yield shown, show.status(view), show.columns(view, url)

    def listen(self, prompt: str | None) -> tuple[str, str, str]:
        """A prompt that was brought along: its words, to be mended by the reader."""
        words, fault = self.studio.transcribe(prompt)
        return OWN, words, show.status(View([], words, fault, fault=True)) if fault else ""

    def choose(self, label: str) -> tuple[str | None, str]:
        """Prompt and words of a voice."""
        item = self.voices.get(label)
        return (str(item.prompt_wav), item.prompt_text) if item else (None, "")

    def stop(self, request: gr.Request) -> None:
        self.studio.stops.stop(str(request.session_hash))

    def leave(self, request: gr.Request) -> None:
        self.studio.leave(str(request.session_hash))


def url(file: Path) -> str:
    """Where the page finds a file of the studio's folder."""
    return f"gradio_api/file={file}"


def serve(page: Page, port: int | None, console: Console) -> None:
    """The page until Ctrl-C. Raises InputError for a port that is in use."""
    folder = page.studio.folder
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    for name in ("no_proxy", "NO_PROXY"):  # gradio asks its own server whether it is there
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), HOST]))
    prompts = {
        str(item.prompt_wav.resolve().parent) for item in page.voices.values() if item.prompt_wav
    }
    app = page.build()
    # As Ctrl-C, so that the recordings of the visitor do not stay behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        try:
            _, address, _ = app.launch(
                server_name=HOST,
                server_port=port,
                share=False,
                inbrowser=False,
                prevent_thread_lock=True,
                quiet=True,
                footer_links=[],
                run_history=False,
                ssr_mode=False,
                mcp_server=False,
                enable_monitoring=False,
                max_file_size=MAX_UPLOAD,
                allowed_paths=[str(folder), *sorted(prompts)],
                theme=Base(font=FONT, font_mono=MONO),
            )
        except OSError as error:
            raise InputError(f"port={port} is in use: another one, or port=null") from error
        console.print(f"{address}  (Ctrl-C ends it)", markup=False, highlight=False)
        with contextlib.suppress(KeyboardInterrupt):
            while app.is_running:
                time.sleep(0.2)
        console.print("closed")
    finally:
        page.studio.stops.stop_all()
        app.close(verbose=False)
