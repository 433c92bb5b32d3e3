"""A MambaVoiceCloning model as a system of a table: it takes the voice of the prompt, not its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from eval.store.files import InputError, sha256_file, sha256_json
from eval.synthesis.systems import (
    Spoken,
    check_sampling,
    check_texts,
    code_version,
    codec_sha256,
    existing,
    need_prompts,
    read_wave,
    stable_seed,
)
from eval.testset import Item
from mamtra.lm.runtime import runtime
from mamtra.model_folder import format_of, model_sha256
from mamtra.mvc.folder import FORMAT, read_mvc
from mamtra.mvc.voice import Voices
from mamtra.mvc_tts import N_STEPS, TEMPERATURE, MVCSynthesizer
from mamtra.systems import MINI, system_of
from mamtra.text.phonemes import PhonemeTokenizer

KIND = "mvc"
NOT_MINE = ("lm", "tts.py")  # sources that its speech does not depend on
OPTIONS: Mapping[str, Any] = {
    "n_steps": N_STEPS,
    "temperature": TEMPERATURE,
    "pace": 1.0,
    "split": True,
}


def is_mvc(folder: Path) -> bool:
    """Whether a model folder holds a MambaVoiceCloning model."""
    return format_of(folder) == FORMAT


@dataclass
class MVCVoicer:
    """An exported model with the codec's vocoder, zero-shot from prompt speech."""

    model_folder: Path
    codec_folder: Path
    seed_index: int
    sampling: Mapping[str, Any]  # of OPTIONS
    device: str
    batch: int = 1
    _voices: dict[Path, Voices] = field(default_factory=dict)

    @cached_property
    def synthesizer(self) -> MVCSynthesizer:
        try:
            return MVCSynthesizer.load(self.model_folder, self.codec_folder, self.device)
        except (ValueError, FileNotFoundError, RuntimeError) as error:
            raise InputError(str(error)) from error

    @cached_property
    def model_sha256(self) -> str:
        return model_sha256(self.model_folder)

    def check(self, items: Sequence[Item]) -> None:
        arm = read_mvc(self.model_folder)["arm"]
        if arm == "leak":
            raise InputError(f"{self.model_folder}: an arm that reads its target cannot speak")
        codec_sha256(self.codec_folder)
        if (system := system_of(self.codec_folder)) is not MINI:
            raise InputError(
                f"system.codec={self.codec_folder}: {system.name} has no vocoder of acoustic frames; "
                "give the codec of a mini system"
            )
        check_sampling(self.sampling, OPTIONS)
        need_prompts(items, with_text=False)
        split = self.sampling.get("split", True)
        texts = [(item.place("text"), item.text, split) for item in items]
        check_texts(PhonemeTokenizer(), texts)

    def recipe(self) -> dict[str, Any]:
        return {
            "kind": KIND,
            "model_sha256": self.model_sha256,
            "codec_sha256": codec_sha256(self.codec_folder),
            "sampling": {**OPTIONS, **self.sampling},
            "seed_index": self.seed_index,
            "code": code_version(NOT_MINE),
        }

    def inputs(self, item: Item) -> str:
        return sha256_json([item.text, sha256_file(existing(item.prompt_wav))])

    def load(self) -> None:
        _ = self.synthesizer

    def say(self, items: Sequence[Item]) -> list[Spoken]:
        spoken = self.synthesizer.speak_batch(
            [item.text for item in items],
            [self._voice(existing(item.prompt_wav)) for item in items],
            [stable_seed(item.utterance, self.seed_index) for item in items],
            **self.sampling,
        )
        rate_hz = self.synthesizer.sample_rate_hz
        return [
            # What stands in the place of a language model: text to mel.
            Spoken(
                speech.wave.numpy(),
                rate_hz,
                lm_s=speech.condition_s + speech.decode_s,
                vocode_s=speech.vocode_s,
            )
            for speech in spoken
        ]

    def _voice(self, path: Path) -> Voices:
        if path not in self._voices:
            wave = read_wave(path, self.synthesizer.input_rate_hz)
            self._voices[path] = self.synthesizer.voice(wave)
        return self._voices[path]

    def card(self) -> dict[str, Any]:
        description = read_mvc(self.model_folder)
        return {
            "kind": KIND,
            "source": str(self.model_folder),
            "model_sha256": self.model_sha256,
            "codec_sha256": codec_sha256(self.codec_folder),
            "arm": description["arm"],
            "n_parameters": description["parameters"],
            "runtime": runtime(self.device, "fp32"),
            "provenance": description["provenance"],
        }
