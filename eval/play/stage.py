"""stage=play: everything that can be checked, then the page until Ctrl-C."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from rich.console import Console

from eval.metrics.settings import MetricSettings
from eval.metrics.setup import set_up
from eval.metrics.weights import Unavailable
from eval.play.hearing import Listener
from eval.play.session import Studio
from eval.play.systems import Systems, find_models
from eval.settings import Play
from eval.store.files import InputError
from eval.synthesis.build import Named
from eval.testset import Item, read_meta


def shipped_voices(items: Iterable[Item]) -> dict[str, Item]:
    """Label -> the first item that has its prompt: one entry for every prompt of a list."""
    found: dict[Path, Item] = {}
    for item in items:
        if item.prompt_wav is not None:
            found.setdefault(item.prompt_wav, item)
    labels: dict[str, Item] = {}
    for path, item in found.items():
        name = item.listed_voice or path.stem
        labels[f"{name}: {item.prompt_text}"] = item
    return labels


def listener_of(s: Play) -> Listener:
    """Raises InputError for a recogniser or rules that cannot be had."""
    settings = MetricSettings(
        language=s.testset.language,
        profile=s.profile,
        asr=s.asr,
        speaker=None,
        mos=None,
        device=s.device,
        threads=s.threads,
        asr_batch=1,
        asr_tokens_per_s=None,
    )
    try:
        listener = Listener(set_up(settings))
        listener.check()
    except Unavailable as error:
        raise InputError(str(error)) from error
    return listener


def play(models: Named, s: Play, console: Console) -> None:
    """Serve the page. Raises InputError for a missing package, model, list or recogniser, and a port in use."""
    try:
        from eval.play.page import Page, serve
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise InputError("the page needs gradio: pip install -e '.[play]'") from error
    torch.set_num_threads(s.threads)
    items = read_meta(s.testset.meta)
    found = find_models(models, s.system.codec, Path(s.paths["runs"]))
    systems = Systems(found, s.system.codec, s.device)
    with tempfile.TemporaryDirectory(prefix="mamtra-play-") as folder:
        studio = Studio(systems, listener_of(s), Path(folder).resolve(), s.system.sampling)
        serve(Page(studio, shipped_voices(items), items[0].text), s.port, console)
