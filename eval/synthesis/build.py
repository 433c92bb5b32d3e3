"""What a command line names -> the systems of one evaluation, checked before any model loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from eval.store.files import InputError
from eval.synthesis.model_voicer import ModelVoicer
from eval.synthesis.systems import CODEC, RECORDINGS, Recordings, Resynthesis, Voicer
from eval.testset import Item, with_recording


@dataclass(frozen=True)
class System:
    """A named system, the items it is asked to say, and where its speech lies.

    Without a `voicer` the speech was made elsewhere, and nothing here synthesises it.
    """

    name: str
    voicer: Voicer | None
    items: tuple[Item, ...]
    folder: Path
    wavs: Path

    def card(self) -> dict[str, Any]:
        """What the tables say of it."""
        if self.voicer is not None:
            return self.voicer.card()
        return {"kind": "wavs", "source": str(self.wavs)}


def name_systems(models: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Give each model a name: its folder's, preceded by the run's for the generic name `student`.

    Raises:
        InputError: no models, two systems of one name, or a name that is not a plain folder name.
    """
    if isinstance(models, Mapping):
        named = {str(name): str(path) for name, path in models.items()}
    else:
        named = {}
        for path in map(str, models):
            folder = Path(path)
            generic = folder.name == "student" and folder.parent.name
            name = f"{folder.parent.name}-student" if generic else folder.name
            if name in named:
                raise InputError(
                    f"two systems would be called {name!r}: {named[name]} and {path}; "
                    "name them: models={first:path,second:path}"
                )
            named[name] = path
    if not named:
        raise InputError("no model given: model=<folder>, model=recordings or model=codec")
    for name in named:
        if not name or "/" in name or "\\" in name or name.startswith("."):
            raise InputError(f"system name {name!r} is not a plain folder name")
    return named


def build_systems(
    models: Mapping[str, str],
    items: Sequence[Item],
    out: Path,
    *,
    codec_folder: Path,
    seed_index: int,
    sampling: Mapping[str, Any],
    device: str,
    batch: int = 1,
    cross_lingual: bool = False,
) -> list[System]:
    """Systems with everything about them checked; no model is loaded.

    Raises:
        InputError or CheckpointError: a model, codec, recording, prompt or text that will not do.
    """
    systems = []
    for name, path in models.items():
        voicer: Voicer
        own_items = tuple(items)
        if path in (RECORDINGS, CODEC):
            voicer = Recordings() if path == RECORDINGS else Resynthesis(codec_folder)
            own_items = with_recording(items)
        else:
            parts = (Path(path), codec_folder, seed_index, sampling, device, batch)
            voicer = ModelVoicer(*parts, cross_lingual)
        voicer.check(own_items)
        systems.append(System(name, voicer, own_items, out / name, out / name / "wavs"))
    return systems


def wav_system(name: str, wavs: Path, items: Sequence[Item], out: Path, console: Console) -> System:
    """A system whose speech is a folder of `<utterance>.wav`; says what is missing or does not belong.

    Raises:
        InputError: no such folder, a bad name, or no file of any expected utterance.
    """
    wavs = wavs.resolve()
    name_systems({name: str(wavs)})
    if not wavs.is_dir():
        raise InputError(f"wavs={wavs}: no such folder")
    found = {path.stem for path in wavs.glob("*.wav")}
    expected = {item.utterance for item in items}
    if not found & expected:
        some = ", ".join(sorted(expected)[:3])
        raise InputError(
            f"{wavs} holds {len(found)} wav files, none of them of the {len(expected)} expected "
            f"utterances ({some}, ...): files are named <utterance>.wav"
        )
    if found - expected:
        console.print(
            f"[yellow]{name}: {len(found - expected)} files of other names are not scored[/]"
        )
    if expected - found:
        console.print(
            f"[yellow]{name}: {len(expected - found)} of {len(expected)} files are missing[/]"
        )
    return System(name, None, tuple(items), out / name, wavs)
