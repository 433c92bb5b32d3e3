"""The models that the page offers, each with the codec and the text front end that they share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from eval.store.files import InputError
from eval.synthesis.build import Named, name_systems
from eval.synthesis.model_voicer import check_model_folder
from eval.synthesis.systems import CODEC, RECORDINGS, codec_sha256
from mamtra.lm.checkpoint import CheckpointError, load_lm, read_description
from mamtra.speech.base import SpeechCodec
from mamtra.systems import SpeechSystem, TextFrontend, system_of
from mamtra.tts import Synthesizer

TEACHER, STUDENT = "teacher", "student"


def find_models(given: Named, codec_folder: Path, runs: Path) -> dict[str, Path]:
    """Name -> folder: those that are given, else the codec folder's teacher and the students below `runs`.

    Students of other codes or text ids than the teacher's belong to another system and are left out.
    Raises InputError or CheckpointError for a model that is not there, or when there is none.
    """
    codec_sha256(codec_folder)
    if given:
        named = name_systems(given).models
        if wrong := {RECORDINGS, CODEC} & set(named.values()):
            raise InputError(
                f"models= on the page are model folders; {min(wrong)} says no new text"
            )
        for folder in named.values():
            check_model_folder(Path(folder))
        return {name: Path(folder) for name, folder in named.items()}
    teacher = codec_folder / TEACHER
    if not teacher.is_dir():
        raise InputError(
            f"{teacher} is not there: name models, such as models={{a: runs/a/student}}"
        )
    check_model_folder(teacher)
    found, wanted = {TEACHER: teacher}, vocabularies(teacher)
    for description in sorted(runs.rglob(f"{STUDENT}/model.json")):
        folder = description.parent
        try:
            check_model_folder(folder)
            if vocabularies(folder) == wanted:
                found[folder.parent.relative_to(runs).as_posix()] = folder
        except (InputError, CheckpointError):  # a run that is at work, or of an older form
            continue
    return found


def vocabularies(folder: Path) -> tuple[int, int]:
    """(text ids, speech codes) of a model. Raises CheckpointError."""
    description = read_description(folder)
    return description["text_vocab"], description["speech_vocab"]


class Systems:
    """Models by name, each loaded when it first speaks."""

    def __init__(self, models: Mapping[str, Path], codec_folder: Path, device: str) -> None:
        self.models, self.folder, self.device = dict(models), codec_folder, device
        self.plans = {name: read_description(path)["plan"] for name, path in models.items()}
        self._loaded: dict[str, Synthesizer] = {}

    @cached_property
    def system(self) -> SpeechSystem:
        return system_of(self.folder)

    @cached_property
    def codec(self) -> SpeechCodec:
        return self.system.load_codec(self.folder, self.device)

    @cached_property
    def text(self) -> TextFrontend:
        return self.system.load_text(self.folder)

    def synthesizer(self, name: str) -> Synthesizer:
        """Raises CheckpointError for damaged weights, ValueError for a model of another codec."""
        if name not in self._loaded:
            lm = load_lm(self.models[name], device=self.device)
            self._loaded[name] = Synthesizer(lm, self.codec, self.text)
        return self._loaded[name]
