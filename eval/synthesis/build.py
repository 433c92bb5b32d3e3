"""What a command line names -> the systems of one evaluation, checked before any model loads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from eval.store.files import InputError
from eval.synthesis.model_voicer import ModelVoicer
from eval.synthesis.mvc_voicer import OPTIONS as MVC_OPTIONS
from eval.synthesis.mvc_voicer import MVCVoicer, is_mvc
from eval.synthesis.systems import CODEC, RECORDINGS, Recordings, Resynthesis, Voicer
from eval.synthesis.vocoded import FLAT, VOCODER, Vocoded
from eval.testset import Item, with_recording

Named = str | Sequence[str] | Mapping[str, str] | None


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

    def recipe(self) -> dict[str, Any]:
        """What made its speech, as far as that is known."""
        return self.card() if self.voicer is None else self.voicer.recipe()


@dataclass(frozen=True)
class Names:
    """name -> folder of models (or `recordings`, `codec`, `vocoder`, `flat`) and of wavs made elsewhere."""

    models: dict[str, str]
    wavs: dict[str, str]


def name_systems(models: Named, wavs: Named = None, name: str | None = None) -> Names:
    """Give each system a name: its folder's, preceded by the run's for the generic name `student`.

    Args:
        models, wavs: one folder, a list, or name -> folder.
        name: of the system when `wavs` is one folder.

    Raises:
        InputError: no systems, two of one name, or a name that is not a plain folder name.
    """
    if name is not None and not isinstance(wavs, str):
        raise InputError("name= names the one folder of wavs=; name several by wavs={name: folder}")
    found: dict[str, str] = {}
    split = []
    for given in (models, {name: wavs} if name is not None and isinstance(wavs, str) else wavs):
        split.append(part := dict(_named(given)))
        for one, path in part.items():
            if one in found:
                raise InputError(
                    f"two systems would be called {one!r}: {found[one]} and {path}; "
                    "name them: models={first: path, second: path}, wavs={third: path}"
                )
            found[one] = path
            if not one or "/" in one or "\\" in one or one.startswith("."):
                raise InputError(f"system name {one!r} is not a plain folder name")
    if not found:
        raise InputError(
            "no system given: model=<folder>, model=recordings, model=codec or wavs=<folder>"
        )
    return Names(*split)


def _named(given: Named) -> Iterator[tuple[str, str]]:
    """(name, folder) pairs of what the command line names.

    Raises InputError for two folders of a list that would have one name.
    """
    if isinstance(given, Mapping):
        yield from given.items()
        return
    seen: dict[str, str] = {}
    for path in [given] if isinstance(given, str) else given or ():
        folder = Path(path)
        generic = folder.name == "student" and folder.parent.name
        name = f"{folder.parent.name}-student" if generic else folder.resolve().name
        if name in seen:
            raise InputError(
                f"two systems would be called {name!r}: {seen[name]} and {path}; "
                "name them: models={first: path, second: path}"
            )
        seen[name] = path
        yield name, path


def build_systems(
    names: Names,
    items: Sequence[Item],
    out: Path,
    *,
    codec_folder: Path,
    seed_index: int,
    sampling: Mapping[str, Any],
    device: str,
    batch: int = 1,
    cross_lingual: bool = False,
    dtype: str = "fp32",
    compiled: bool = False,
    console: Console | None = None,
) -> list[System]:
    """Systems with everything about them checked; no model is loaded. `console` is told of missing wavs.

    Raises:
        InputError or CheckpointError: a model, codec, recording, prompt or text that will not do.
    """
    systems = []
    # An option that only systems of another kind have is theirs, where there are some.
    of_mvc = {path for path in names.models.values() if is_mvc(Path(path))}
    of_lm = {*names.models.values()} - of_mvc - {RECORDINGS, CODEC, VOCODER, FLAT}
    for name, path in names.models.items():
        voicer: Voicer
        own_items = tuple(items)
        if path in (RECORDINGS, CODEC):
            voicer = Recordings() if path == RECORDINGS else Resynthesis(codec_folder, device)
            own_items = with_recording(items)
        elif path in (VOCODER, FLAT):
            voicer = Vocoded(codec_folder, device, path)
            own_items = with_recording(items)
        elif path in of_mvc:
            others = {*ModelVoicer.options()} - {*MVC_OPTIONS} if of_lm else set()
            own = {name: value for name, value in sampling.items() if name not in others}
            voicer = MVCVoicer(Path(path), codec_folder, seed_index, own, device, batch)
        else:
            others = {*MVC_OPTIONS} - {*ModelVoicer.options()} if of_mvc else set()
            own = {name: value for name, value in sampling.items() if name not in others}
            parts = (Path(path), codec_folder, seed_index, own, device, batch)
            voicer = ModelVoicer(*parts, cross_lingual, dtype, compiled)
        voicer.check(own_items)
        systems.append(System(name, voicer, own_items, out / name, out / name / "wavs"))
    quiet = console or Console(quiet=True)
    for name, path in names.wavs.items():
        systems.append(wav_system(name, Path(path), items, out, quiet))
    return systems


def wav_system(name: str, wavs: Path, items: Sequence[Item], out: Path, console: Console) -> System:
    """A system whose speech is a folder of `<utterance>.wav`; says what is missing or does not belong.

    Raises:
        InputError: no such folder, or no file of any expected utterance.
    """
    wavs = wavs.resolve()
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
        text = f"{name}: {len(found - expected)} files of other names are not scored"
        console.print(text, style="yellow", markup=False)
    if expected - found:
        text = f"{name}: {len(expected - found)} of {len(expected)} files are missing"
        console.print(text, style="yellow", markup=False)
    return System(name, None, tuple(items), out / name, wavs)
