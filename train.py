"""Trains one model: `python train.py experiment=<name> [<group>=<option> ...]`; see configs/."""

from pathlib import Path
from typing import Any

import hydra
from lightning import seed_everything
from omegaconf import DictConfig, OmegaConf

from data.codec_batches import codec_batches, vocoder_batches
from data.datamodule import TokenDataModule
from lightning_modules.alignment import embed_codes_as_letters
from lightning_modules.base import LanguageModelModule
from lightning_modules.distill import DistillModule, Objective
from lightning_modules.fit_codec import fit_codec, fit_vocoder
from lightning_modules.running import RunFolder, clear_errors, software, train_in
from lightning_modules.teacher import TeacherModule
from mamtra.backbone.layer_plan import draw, layer_plan
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import load_lm
from mamtra.lm.speech_lm import SpeechLM
from mamtra.text.characters import CharacterTokenizer
from mamtra.transfer.student import build_student

TEXT = CharacterTokenizer()
Run = tuple[LanguageModelModule, TokenDataModule]


def token_data(s: Any, codes: int) -> TokenDataModule:
    return TokenDataModule(s["paths"]["tokens"], TEXT, codes, seed=s["seed"], **s["batch"])


def teacher(s: Any) -> Run:
    """An all-attention SpeechLM from scratch."""
    sizes, codes = BackboneSizes(**s["lm"]["sizes"]), s["lm"]["speech_vocab"]
    tokens, plan = token_data(s, codes), layer_plan(sizes.n_layers, "1:0", "blockbeg")
    lm = SpeechLM(sizes, plan, TEXT.vocab_size, codes, dropout=s["lm"]["dropout"])
    if s["alignment"]["weight"]:
        embed_codes_as_letters(lm, tokens.train_table)
    return TeacherModule(lm, s["optimizer"], s["label_smoothing"], s["alignment"]), tokens


def student(s: Any) -> Run:
    """The teacher with layers turned into Mamba layers, to be distilled from it."""
    source, aim = load_lm(s["paths"]["teacher"]), Objective(**s["objective"])
    plan = layer_plan(source.sizes.n_layers, s["ratio"], s["placement"])
    tokens = token_data(s, source.speech_vocab)
    lm, report = build_student(source, plan, s["init"], tokens.calibration_batch(), **s["transfer"])
    report.print()
    print(f"layers: {draw(plan)}")
    return DistillModule(source, lm, aim, s["optimizer"], report.fresh_parameter_names), tokens


def speech(s: Any) -> None:
    """The codec network or its vocoder: they read recordings and have a loop of their own."""
    seed_everything(s["seed"], verbose=False)
    run, corpus, data, seed = Path(s["run"]), Path(s["paths"]["corpus"]), s["batch"], s["seed"]
    if s["task"] == "codec":
        batches, network = codec_batches(corpus, **data, seed=seed), s["codec"]["network"]
        fit_codec(run, *batches, network=network, **s["training"])
    else:
        train, origin = vocoder_batches(corpus, **data, seed=seed), {"settings": s} | software()
        fit_vocoder(run, train, **s["codec"], **s["training"], provenance=origin)


# task: (what builds it, what it reads, the name of its export)
TASKS = {
    "teacher": (teacher, ("tokens",), "teacher"),
    "distill": (student, ("tokens", "teacher"), "student"),
}


@hydra.main(version_base=None, config_path="configs", config_name="train")
@clear_errors()
def main(config: DictConfig) -> None:
    s: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    if s["task"] not in TASKS:
        return speech(s)
    build, names, export = TASKS[s["task"]]
    run, overwrite = RunFolder(Path(s.pop("run")), export), s.pop("overwrite")
    settings = {key: value for key, value in s.items() if key != "paths"}
    train_in(run, lambda: build(s), settings, {n: Path(s["paths"][n]) for n in names}, overwrite)


if __name__ == "__main__":
    main()
