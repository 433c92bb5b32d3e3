"""A language model as a system of a table: zero-shot synthesis with the codec around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any

from eval.store.files import InputError, sha256_file, sha256_json
from eval.synthesis.systems import (
    CODEC,
    RECORDINGS,
    Spoken,
    check_sampling,
    check_texts,
    code_version,
    codec_sha256,
    existing,
    need_prompts,
    read_original,
    read_wave,
    stable_seed,
)
from eval.testset import Item
from mamtra.lm.checkpoint import DESCRIPTION, WEIGHTS, model_sha256, read_description
from mamtra.lm.generate import generate_batch
from mamtra.lm.runtime import runtime
from mamtra.systems import TextFrontend, sampling_of, system_of
from mamtra.tts import Prompt, Synthesizer


@dataclass
class ModelVoicer:
    """An exported language model with the codec, zero-shot from prompt text and speech."""

    model_folder: Path
    codec_folder: Path
    seed_index: int
    sampling: Mapping[str, Any]  # options of `Synthesizer.speak_batch`
    device: str
    batch: int = 1
    cross_lingual: bool = False  # the language model sees nothing of the prompt
    dtype: str = "fp32"
    compiled: bool = False
    _prompts: dict[tuple[str | None, Path], Prompt] = field(default_factory=dict)

    @cached_property
    def synthesizer(self) -> Synthesizer:
        try:
            return Synthesizer.load(
                self.model_folder,
                self.codec_folder,
                device=self.device,
                dtype=self.dtype,
                compiled=self.compiled,
            )
        except (ValueError, RuntimeError) as error:
            raise InputError(str(error)) from error

    @cached_property
    def text(self) -> TextFrontend:
        return system_of(self.codec_folder).load_text(self.codec_folder)

    @cached_property
    def model_sha256(self) -> str:
        return model_sha256(self.model_folder)

    def check(self, items: Sequence[Item]) -> None:
        check_model_folder(self.model_folder)
        codec_sha256(self.codec_folder)
        check_sampling(self.sampling, self.options())
        need_prompts(items, with_text=not self.cross_lingual)
        try:
            tokenizer = self.text
        except (FileNotFoundError, ValueError) as error:
            raise InputError(str(error)) from error
        texts = []
        for item in items:
            texts.append((item.place("text"), item.text, self.sampling.get("split", True)))
            if (said := self._prompt_text(item)) is not None:
                texts.append((item.place("prompt_text"), said, False))
        check_texts(tokenizer, texts)

    def recipe(self) -> dict[str, Any]:
        return {
            "kind": "model",
            "model_sha256": self.model_sha256,
            "codec_sha256": codec_sha256(self.codec_folder),
            "sampling": self.effective_sampling(),
            "cross_lingual": self.cross_lingual,
            "seed_index": self.seed_index,
            "dtype": self.dtype,
            "compiled": self.compiled,
            "code": code_version(),
        }

    def inputs(self, item: Item) -> str:
        prompt = sha256_file(existing(item.prompt_wav))
        return sha256_json([self._prompt_text(item), item.text, prompt])

    def effective_sampling(self) -> dict[str, Any]:
        """Every option of the decoding with the value it has, whoever set it."""
        return self.options() | sampling_of(self.text) | dict(self.sampling)

    @staticmethod
    def options() -> dict[str, Any]:
        """The options of `Synthesizer.speak_batch` with their general defaults."""
        options = signature(generate_batch).parameters.values()
        known = {o.name: o.default for o in options if isinstance(o.default, int | float)}
        return known | {"split": True}

    def load(self) -> None:
        _ = self.synthesizer

    def say(self, items: Sequence[Item]) -> list[Spoken]:
        spoken = self.synthesizer.speak_batch(
            [item.text for item in items],
            [self._prompt(item) for item in items],
            [stable_seed(item.utterance, self.seed_index) for item in items],
            **self.sampling,
        )
        return [
            Spoken(
                speech.wave.numpy(),
                self.synthesizer.sample_rate_hz,
                n_tokens=len(speech.tokens),
                lm_s=speech.lm_s,
                vocode_s=speech.vocode_s,
                hit_max=speech.hit_max,
                error=speech.error,
            )
            for speech in spoken
        ]

    def _prompt_text(self, item: Item) -> str | None:
        return None if self.cross_lingual else item.prompt_text

    def _prompt(self, item: Item) -> Prompt:
        key = (self._prompt_text(item), existing(item.prompt_wav))
        if key not in self._prompts:
            wave = read_wave(key[1], self.synthesizer.input_rate_hz)
            original = read_original(key[1])
            self._prompts[key] = self.synthesizer.prompt(key[0], wave, original)
        return self._prompts[key]

    def card(self) -> dict[str, Any]:
        description = read_description(self.model_folder)
        return {
            "kind": "model",
            "source": str(self.model_folder),
            "model_sha256": self.model_sha256,
            "codec_sha256": codec_sha256(self.codec_folder),
            "layer_plan": description["plan"],
            "n_parameters": description["parameters"],
            "runtime": runtime(self.device, self.dtype, self.compiled),
            "provenance": description["provenance"],
        }


def check_model_folder(folder: Path) -> None:
    """Raise InputError or CheckpointError unless `folder` looks like an exported model."""
    if not folder.is_dir():
        raise InputError(
            f"no such model folder: {folder} (a model is a folder written by train.py with "
            f"{DESCRIPTION} and {WEIGHTS}; '{RECORDINGS}' and '{CODEC}' name the reference systems)"
        )
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder} is not an exported model: {WEIGHTS} is missing")
    read_description(folder)
