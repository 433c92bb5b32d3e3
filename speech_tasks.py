"""The tasks of the speech side: the codec network, then the vocoder that turns its frames into sound."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from data.codec_batches import SpeechDataModule, codec_batches, vocoder_batches
from lightning_modules.codec import CodecModule
from lightning_modules.codec_start import (
    PHONE_RECOGNISER,
    read_part,
    start_from,
    take_phone_recogniser,
)
from lightning_modules.fit import software
from lightning_modules.run_folder import RunFolder
from lightning_modules.running import train_in
from lightning_modules.trainer_settings import TrainingLength
from lightning_modules.vocoder import VocoderModule
from mamtra.speech.codec import CodecNetwork
from mamtra.speech.mini_codec import MiniCodec, save_codec
from mamtra.speech.vocoder import Vocoder
from mamtra.text.characters import CharacterTokenizer
from settings.training import CodecSettings, SpeechSettings, VocoderSettings


def train_codec(s: CodecSettings, own: Mapping[str, Any]) -> None:
    """task=codec: <run>/network.safetensors, and beside it what hears letters and phonemes in its codes.

    Raises ValueError when the tokenizer to freeze is not that of training.init.
    """
    if s.training.freeze_tokenizer and s.training.init is None:
        raise ValueError("training.freeze_tokenizer needs training.init: whose tokenizer stays")

    def build() -> tuple[CodecModule, SpeechDataModule]:
        batches = codec_batches(s.paths.corpus, s.batch.batch_s, s.seed)
        network = CodecNetwork(**s.codec.network)
        options = asdict(s.training)
        init = options.pop("init")
        if init is not None:
            fresh = start_from(network, read_part(init, "network."), str(init))
            print(f"weights from {init}" + (f", but for {', '.join(fresh)}" if fresh else ""))
            if s.training.freeze_tokenizer and fresh:
                raise ValueError(f"training.freeze_tokenizer: {init} has another codebook")
        options |= {"steps": s.steps, "grad_clip": s.trainer.grad_clip}
        module = CodecModule(network, CharacterTokenizer().vocab_size, **options)
        if init is not None and module.phone_recogniser is not None:
            take_phone_recogniser(module.phone_recogniser, init.with_name(PHONE_RECOGNISER))
        return module, batches

    _train(s, own, "network.safetensors", build)


def train_vocoder(s: VocoderSettings, own: Mapping[str, Any]) -> None:
    """task=vocoder: <run>/vocoder.safetensors, from frames of real speech.

    With the codec network at hand it also exports <run>/codec, which `mamtra.speech.load_codec` reads.
    """
    init = s.training.init
    if not s.steps and init is None:
        raise ValueError("steps=0 needs training.init: whose vocoder it is to be")

    def build() -> tuple[VocoderModule, SpeechDataModule]:
        crops = vocoder_batches(s.paths.corpus, s.batch.rows, s.batch.frames, s.seed)
        vocoder = Vocoder(**s.codec.vocoder)
        if init is not None:
            vocoder.load_state_dict(read_part(init, "vocoder."))
        options = {"steps": s.steps, "lr": s.training.lr, "grad_clip": s.trainer.grad_clip}
        options["adversarial_from"] = s.training.adversarial_from
        return VocoderModule(vocoder, **options), crops

    run = _train(s, own, "vocoder.safetensors", build)
    weights = s.paths.codec_weights
    if not weights.exists():
        print(f"no {weights} yet: train the codec, then run this again to export <run>/codec")
        return
    export_codec(run, weights, s, {"settings": own} | software())


def export_codec(
    run: RunFolder, weights: Path, s: VocoderSettings, provenance: dict[str, Any]
) -> None:
    """<run>/codec from the network's `weights` and the run's vocoder."""
    network, vocoder = CodecNetwork(**s.codec.network), Vocoder(**s.codec.vocoder)
    network.load_state_dict(load_file(weights))
    vocoder.load_state_dict(load_file(run.export))
    folder = run.path / "codec"
    save_codec(folder, MiniCodec(network, vocoder), asdict(s.codec), provenance, s.training.text)
    print(f"codec -> {folder}")


def _train(s: SpeechSettings, own: Mapping[str, Any], name: str, build: Any) -> RunFolder:
    run = RunFolder(s.run, name)
    train_in(
        *(run, build, own, {"corpus": s.paths.corpus / "manifest.csv"}, s.overwrite),
        length=TrainingLength(s.seed, s.steps, None),
        trainer=s.trainer,
        watching=s.watching,
    )
    return run
