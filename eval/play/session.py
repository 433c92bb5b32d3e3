"""What happens between a click on "Speak" and its last piece, as a row of views; and who may end it before."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.text.wer import corpus
from eval.metrics.weights import Unavailable
from eval.play.hearing import Heard, Listener
from eval.play.speaking import (
    Progress,
    SpokenPiece,
    Stopped,
    check_prompt_text,
    pieces_of,
    speak,
)
from eval.play.systems import Systems
from eval.prompt import read_prompt
from eval.store.files import InputError, sha256_bytes, write_bytes
from eval.synthesis.synthesize import pcm16_bytes
from eval.synthesis.systems import read_wave


@dataclass(frozen=True)
class Clip:
    """A spoken piece with what was heard in it."""

    text: str
    file: Path
    duration_s: float
    heard: Heard


@dataclass
class Column:
    """One system: its layers and what it has said so far."""

    name: str
    plan: Sequence[str]
    clips: list[Clip] = field(default_factory=list)

    @property
    def wer(self) -> float | None:
        """Of all that was said; None before there are words."""
        errors = [clip.heard.errors for clip in self.clips if clip.heard.errors]
        return corpus(errors).wer if errors else None


@dataclass
class View:
    """What the page shows. `share`: done of all, 0 to 1. `fault`: `message` says what the reader is to mend."""

    columns: list[Column]
    prompt_text: str
    message: str = ""
    share: float = 0.0
    fault: bool = False


class Stops:
    """Which work is to end: of a session that said so or is gone, of all at the server's end."""

    def __init__(self) -> None:
        self._orders: Counter[str] = Counter()
        self._all = threading.Event()

    def begin(self, session: str) -> Callable[[], bool]:
        """Whether the work that begins now is to end."""
        orders = self._orders[session]
        return lambda: self._all.is_set() or self._orders[session] != orders

    def stop(self, session: str) -> None:
        """Ends what the session is at; what it asks for later is done."""
        self._orders[session] += 1

    def stop_all(self) -> None:
        self._all.set()


@dataclass
class Studio:
    """The systems, the recogniser, and a folder for what is spoken."""

    systems: Systems
    listener: Listener
    folder: Path
    sampling: Mapping[str, Any]
    stops: Stops = field(default_factory=Stops)

    def leave(self, session: str) -> None:
        """A closed tab: its work ends and its files go."""
        self.stops.stop(session)
        shutil.rmtree(self.folder_of(session), ignore_errors=True)

    def folder_of(self, session: str) -> Path:
        """Where its speech lies; its name, which the browser gives, is no path."""
        return self.folder / sha256_bytes(session.encode())[:16]

    def transcribe(self, prompt: str | None) -> tuple[str, str]:
        """(the words of a prompt, what is wrong with it): one of them is empty."""
        try:
            if prompt is None:
                return "", ""
            return self._words_of(prompt), ""
        except (InputError, Unavailable) as error:
            return "", str(error)

    def _words_of(self, prompt: str) -> str:
        words = self.listener.prompt_text(read_prompt(prompt))
        if not words:
            raise InputError("no words are heard in the prompt: type what is said in it")
        return words

    def speak(
        self,
        session: str,
        names: Sequence[str],
        text: str,
        prompt: str | None,
        prompt_text: str,
        seed: int,
    ) -> Iterator[View]:
        """The views of one click, the last one final. Whatever is wrong is the message of a view."""
        view = View([Column(name, self.systems.plans[name]) for name in names], prompt_text)
        try:
            yield from self._speak(view, self.stops.begin(session), session, text, prompt, seed)
        except Stopped:
            view.message = "stopped"
        except (InputError, Unavailable, ValueError) as error:
            view.message, view.fault = str(error), True
        yield view

    def _speak(
        self,
        view: View,
        stopped: Callable[[], bool],
        session: str,
        text: str,
        prompt: str | None,
        seed: int,
    ) -> Iterator[View]:
        pieces = pieces_of(text, self.systems.text)
        if not view.columns:
            raise InputError("no system is chosen: choose one or more")
        if prompt is None:
            raise InputError("there is no prompt: choose a voice, or upload or record one")
        read_prompt(prompt)
        if not view.prompt_text.strip():
            view.message = f"{self.listener.name} listens to the prompt"
            yield view
            view.prompt_text = self._words_of(prompt)
        check_prompt_text(view.prompt_text, self.systems.text)
        synthesizers = {}
        for column in view.columns:
            view.message = f"{column.name} is loaded"
            yield view
            if stopped():
                raise Stopped
            synthesizers[column.name] = self.systems.synthesizer(column.name)
        columns = {column.name: column for column in view.columns}
        first = next(iter(synthesizers.values()))
        encoded = first.prompt(view.prompt_text, read_wave(Path(prompt), first.input_rate_hz))
        events = speak(synthesizers, pieces, encoded, seed, stopped, **self.sampling)
        total = len(pieces) * len(columns)
        for event in events:
            done = sum(len(column.clips) for column in view.columns)
            view.share = done / total
            place = f"piece {event.piece + 1} of {len(pieces)}"
            if isinstance(event, Progress):
                view.message = f"{event.system} speaks {place}: {event.seconds:.1f} s"
            else:
                view.message = f"{self.listener.name} listens to {event.system}, {place}"
                yield view
                columns[event.system].clips.append(self._clip(event, session, first.sample_rate_hz))
                view.share = (done + 1) / total
            yield view
        view.message, view.share = "done", 1.0

    def _clip(self, spoken: SpokenPiece, session: str, rate_hz: int) -> Clip:
        """The piece as a file of a name of its own, for a browser keeps what it has under a name."""
        wave: np.ndarray = spoken.wave.numpy()
        content = pcm16_bytes(wave, rate_hz)
        folder = self.folder_of(session)
        system = "".join(c if c.isalnum() else "-" for c in spoken.system)
        number = len(list(folder.glob("*.wav")))
        file = folder / f"{number:04d}-{system}-{spoken.piece + 1}.wav"
        write_bytes(file, content)
        heard = self.listener.hear(wave, rate_hz, spoken.text)
        return Clip(spoken.text, file, len(wave) / rate_hz, heard)
