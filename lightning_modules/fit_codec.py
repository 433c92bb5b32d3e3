"""Runs of the speech side: the codec network, then the vocoder that turns its frames into sound."""

import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from lightning_modules.checkpoints import SaveWhenStopped
from lightning_modules.codec import CodecModule
from lightning_modules.fit import quiet_lightning
from lightning_modules.ranks import cluster_environment
from lightning_modules.vocoder import VocoderModule
from mamtra.speech.batch import CodecBatch
from mamtra.speech.codec import CodecNetwork
from mamtra.speech.mini_codec import MiniCodec, save_codec
from mamtra.speech.vocoder import Vocoder
from mamtra.text.characters import CharacterTokenizer
from mamtra.weights_file import save_tensors


class PrintProgress(Callback):
    """One line every `every` steps: step, seconds a step, every logged term."""

    def __init__(self, every: int) -> None:
        self.every, self.since_s = every, time.monotonic()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step % self.every == 0:
            step_s = (time.monotonic() - self.since_s) / self.every
            self.since_s = time.monotonic()
            terms = {k: f"{float(v):.3f}" for k, v in trainer.callback_metrics.items()}
            line = "  ".join(f"{k.split('/')[-1]} {v}" for k, v in terms.items())
            print(
                f"step {trainer.global_step}/{trainer.max_steps}  {step_s:.2f} s  {line}",
                flush=True,
            )


def _fit(
    module: L.LightningModule,
    train: Any,
    valid: list[CodecBatch],
    run: Path,
    steps: int,
    precision: str,
    accelerator: str,
) -> None:
    """Trains to `steps`, continuing from `<run>/checkpoints/last.ckpt` when it is there."""
    quiet_lightning()
    warnings.filterwarnings("ignore", ".*exists and is not empty.*")  # a run that is continued
    last = run / "checkpoints" / "last.ckpt"
    resume = str(last) if last.exists() else None
    if resume:
        stored = torch.load(last, map_location="cpu", weights_only=True)
        train.start_step = int(stored["global_step"])
        print(f"continuing {run} at step {train.start_step}")
    trainer = L.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,  # type: ignore[arg-type]
        max_steps=steps,
        val_check_interval=500 if valid else None,
        limit_val_batches=None if valid else 0,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=CSVLogger(run, name="", version="log"),
        log_every_n_steps=25,
        default_root_dir=run / "checkpoints",  # where no hpc_ckpt file of another program lies
        plugins=[cluster_environment(devices=1, nodes=1)],
        callbacks=[
            PrintProgress(20),
            # One last.ckpt: of two writers, a counted one would leave the other's to be resumed from.
            ModelCheckpoint(
                run / "checkpoints",
                filename="step",
                save_last=True,
                every_n_train_steps=200,
                enable_version_counter=False,
            ),
            SaveWhenStopped(last),
        ],
    )
    loader = DataLoader(train, batch_size=None)
    # A list is a dataset with indices, whatever its type says.
    valid_loader = DataLoader(valid, batch_size=None) if valid else None  # type: ignore[arg-type]
    trainer.fit(module, loader, valid_loader, ckpt_path=resume, weights_only=True)
    if trainer.interrupted:
        print(f"stopped at step {trainer.global_step}; the same command continues from {last}")
        sys.exit(130)


def _save_weights(path: Path, module: torch.nn.Module) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_tensors({k: v.contiguous() for k, v in module.state_dict().items()}, partial)
    os.replace(partial, path)


def read_part(path: Path, prefix: str) -> dict[str, torch.Tensor]:
    """Weights in fp32: of an exported codec those behind `prefix`, of a run's file all.

    Raises FileNotFoundError.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: training.init names weights to start from")
    stored = load_file(path)
    exported = {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
    return {name: tensor.float() for name, tensor in (exported or stored).items()}


PHONE_RECOGNISER = "phone_recogniser.safetensors"
# Their shapes follow from the number of FSQ channels.
OF_THE_CODEBOOK = (
    "tokenizer.to_code.weight",
    "tokenizer.to_code.bias",
    "decoder.inlet.weight",
)


def start_from(codec: CodecNetwork, weights: dict[str, torch.Tensor], source: str) -> list[str]:
    """Loads weights of a codec whose codebook may have another size; names of what stays as it was drawn.

    Raises ValueError, naming `source` and the tensor, when anything else differs.
    """
    wanted = codec.state_dict()
    if wrong := sorted(wanted.keys() ^ weights.keys()):
        raise ValueError(f"training.init={source}: missing or extra tensor {wrong[0]}")
    other = [name for name, tensor in wanted.items() if weights[name].shape != tensor.shape]
    if wrong := [name for name in other if name not in OF_THE_CODEBOOK]:
        raise ValueError(
            f"training.init={source}: {wrong[0]} is {tuple(weights[wrong[0]].shape)}, the run's codec "
            f"has {tuple(wanted[wrong[0]].shape)}: only codec.network.levels may differ"
        )
    # With another number of channels none of the three means what it meant.
    fresh: list[str] = [*OF_THE_CODEBOOK] if other else []
    codec.load_state_dict(
        {name: t for name, t in weights.items() if name not in fresh}, strict=False
    )
    return fresh


def _take_phone_recogniser(recogniser: torch.nn.Module, path: Path) -> None:
    """Loads `path` if it is there and fits; a codebook or set of phonemes of another size starts anew."""
    if not path.is_file():
        return
    weights, wanted = load_file(path), recogniser.state_dict()
    if {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in wanted.items()}:
        recogniser.load_state_dict(weights)
        print(f"recogniser of phonemes from {path}")
    else:
        print(f"recogniser of phonemes: new, {path} has other sizes")


def fit_codec(
    run: Path,
    train: Any,
    valid: list[CodecBatch],
    *,
    network: dict[str, Any],
    steps: int,
    lr: float,
    adversarial_from: int,
    ctc_weight: float,
    precision: str,
    accelerator: str,
    phone_weight: float = 0.0,
    n_phones: int = 0,
    init: str | None = None,
    freeze_tokenizer: bool = False,
) -> Path:
    """Tokenizer and decoder; returns `<run>/network.safetensors`, beside it the recognisers of letters
    (`recogniser.safetensors`) and, with a `phone_weight`, of phonemes.

    train: endless batches with a `start_step`, as `data.codec_batches` makes them; valid: fixed ones.
    init: a `network.safetensors` or the `codec.safetensors` of an exported codec to start from; a recogniser of
    phonemes beside it is taken over. freeze_tokenizer: see `CodecModule`; tokens made before stay right.
    Raises ValueError when the tokenizer to freeze is not that of `init`.
    """
    out = run / "network.safetensors"
    if out.exists():
        print(f"{out} is complete; nothing to do")
        return out
    codec = CodecNetwork(**network)
    if freeze_tokenizer and not init:
        raise ValueError("training.freeze_tokenizer needs training.init: whose tokenizer stays")
    if init:
        fresh = start_from(codec, read_part(Path(init), "network."), init)
        print(f"weights from {init}" + (f", but for {', '.join(fresh)}" if fresh else ""))
        if freeze_tokenizer and fresh:
            raise ValueError(f"training.freeze_tokenizer: {init} has another codebook")
    module = CodecModule(
        codec,
        CharacterTokenizer().vocab_size,
        lr=lr,
        max_steps=steps,
        adversarial_from=adversarial_from,
        ctc_weight=ctc_weight,
        phone_weight=phone_weight,
        n_phones=n_phones,
        freeze_tokenizer=freeze_tokenizer,
    )
    if init and module.phone_recogniser is not None:
        _take_phone_recogniser(module.phone_recogniser, Path(init).with_name(PHONE_RECOGNISER))
    _fit(module, train, valid, run, steps, precision, accelerator)
    _save_weights(run / "recogniser.safetensors", module.recogniser)
    if module.phone_recogniser is not None:
        _save_weights(run / PHONE_RECOGNISER, module.phone_recogniser)
    _save_weights(out, module.network)
    print(f"codec network -> {out}")
    return out


def fit_vocoder(
    run: Path,
    train: Any,
    *,
    network: dict[str, Any],
    vocoder: dict[str, Any],
    codec_weights: Path | str,
    steps: int,
    lr: float,
    adversarial_from: int,
    precision: str,
    accelerator: str,
    provenance: dict[str, Any],
    text: str = "characters",
    init: str | None = None,
) -> Path:
    """The vocoder, from frames of real speech; returns its weights' path.

    init: an exported codec's weights, whose vocoder to start from; with steps=0 it stays as it is. text: see
    `save_codec`.
    With the codec network at hand it also exports `<run>/codec`, which `mamtra.speech.load_codec` reads.
    """
    out = run / "vocoder.safetensors"
    model = Vocoder(**vocoder)
    if out.exists():
        print(f"{out} is complete; nothing to train")
        model.load_state_dict(load_file(out))
    else:
        if init:
            model.load_state_dict(read_part(Path(init), "vocoder."))
        elif not steps:
            raise ValueError("training.steps=0 needs training.init: whose vocoder it is to be")
        if steps:
            module = VocoderModule(model, lr=lr, max_steps=steps, adversarial_from=adversarial_from)
            _fit(module, train, [], run, steps, precision, accelerator)
        _save_weights(out, model)
    if not Path(codec_weights).exists():
        print(f"no {codec_weights} yet: train the codec, then run this again to export <run>/codec")
        return out
    codec = CodecNetwork(**network)
    codec.load_state_dict(load_file(codec_weights))
    sizes = {"network": network, "vocoder": vocoder}
    save_codec(run / "codec", MiniCodec(codec, model), sizes, provenance, text)
    print(f"codec -> {run / 'codec'}")
    return out
