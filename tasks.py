"""What `train.py` can do, one function per task: builds from a resolved configuration and runs.

The only code besides the entry files that sees configuration; everything it calls takes typed arguments.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning import seed_everything
from lightning.pytorch.utilities import rank_zero_only

from data.codec_batches import codec_batches, vocoder_batches
from data.datamodule import TokenDataModule
from eval.grid import Cell, axes, check_version, refuse_cell, run_cell, stages, sweep_size
from lightning_modules.alignment import embed_codes_as_letters
from lightning_modules.base import LanguageModelModule
from lightning_modules.distill import DistillModule, Objective
from lightning_modules.fit_codec import fit_codec, fit_vocoder
from lightning_modules.layerwise import LayerwiseModule
from lightning_modules.run_folder import RunFolder
from lightning_modules.running import say, software, train_in
from lightning_modules.teacher import TeacherModule
from mamtra.backbone.layer_plan import (
    MEASURED,
    LayerPlan,
    check_plan,
    draw,
    layer_plan,
    parse_plan,
    plan_letters,
)
from mamtra.backbone.sizes import BackboneSizes
from mamtra.lm.checkpoint import load_lm, read_description
from mamtra.lm.speech_lm import SpeechLM
from mamtra.text.characters import CharacterTokenizer
from mamtra.text.phonemes import PhonemeTokenizer
from mamtra.text.qwen import QwenTokenizer
from mamtra.transfer.cosyvoice2 import SIZES, read_llm_pt
from mamtra.transfer.report import TransferReport
from mamtra.transfer.scores import load_scores
from mamtra.transfer.student import LAYERWISE, build_student

Run = tuple[LanguageModelModule, TokenDataModule]
TOKENIZERS = {
    "characters": lambda s: CharacterTokenizer(),
    "phonemes": lambda s: PhonemeTokenizer(),
    "qwen": lambda s: QwenTokenizer(s["paths"]["cosyvoice2"]),
}


def token_data(s: Any, codes: int) -> TokenDataModule:
    text = TOKENIZERS[s["text"]](s)
    return TokenDataModule(s["paths"]["tokens"], text, codes, seed=s["seed"], **s["batch"])


def load_teacher(path: str) -> SpeechLM:
    """A model folder of ours, or CosyVoice 2's `llm.pt`."""
    return read_llm_pt(path) if path.endswith(".pt") else load_lm(path)


def teacher(s: Any) -> Run:
    """An all-attention SpeechLM from scratch."""
    sizes, codes = BackboneSizes(**s["lm"]["sizes"]), s["lm"]["speech_vocab"]
    tokens, plan = token_data(s, codes), layer_plan(sizes.n_layers, "1:0", "blockbeg")
    text_vocab = TOKENIZERS[s["text"]](s).vocab_size
    lm = SpeechLM(sizes, plan, text_vocab, codes, dropout=s["lm"]["dropout"])
    if s["alignment"]["weight"]:
        embed_codes_as_letters(lm, tokens.train_table)
    options = {name: s[name] for name in ("label_smoothing", "alignment", "corruption")}
    return TeacherModule(lm, s["optimizer"], **options), tokens


def plan_of(s: Any) -> LayerPlan:
    """The explicit `plan`, or what `ratio` and `placement` mean for the teacher's layers."""
    folder, placement = Path(s["paths"]["teacher"]), s["placement"]
    upstream = folder.suffix == ".pt"
    n_layers = SIZES.n_layers if upstream else read_description(folder)["sizes"]["n_layers"]
    if s["plan"]:
        return check_plan(parse_plan(s["plan"]), n_layers)
    scores = None
    if placement in MEASURED:
        file = Path(s["paths"]["importance"]) / f"{placement}.json"
        scores = load_scores(file, placement, folder).values
    return layer_plan(n_layers, s["ratio"], placement, scores)


def converted(s: Any) -> tuple[SpeechLM, TokenDataModule, SpeechLM, TransferReport]:
    """(teacher, tokens, student to be trained, what the transfer did)."""
    source, mixers = load_teacher(s["paths"]["teacher"]), None
    if s["init"] == LAYERWISE:
        mixers = load_lm(s["paths"]["layerwise"])
    plan = plan_of(s)
    tokens = token_data(s, source.speech_vocab)
    options = s["transfer"] | {"mixers": mixers}
    lm, report = build_student(source, plan, s["init"], tokens.calibration_batch(), **options)
    rank_zero_only(report.print)()
    say(f"layers: {draw(plan)}")
    return source, tokens, lm, report


def student(s: Any) -> Run:
    """The teacher with layers turned into Mamba layers, to be distilled from it."""
    source, tokens, lm, report = converted(s)
    aim = Objective(**s["objective"])
    options = (s["optimizer"], report.fresh_parameter_names)
    return DistillModule(source, lm, aim, *options, **s["memory"]), tokens


def layerwise(s: Any) -> Run:
    """All layers turned into Mamba layers, each to be trained by itself."""
    source, tokens, lm, report = converted(s)
    return LayerwiseModule(source, lm, s["optimizer"], report.fresh_parameter_names), tokens


def speech(s: Any, run: RunFolder) -> None:
    """The codec network or its vocoder: they read recordings and have a loop of their own."""
    seed_everything(s["seed"], verbose=False)
    corpus, data, training = Path(s["paths"]["corpus"]), s["batch"], s["training"]
    run.claim(run.check(identity(s), {"corpus": corpus / "manifest.csv"}, s["overwrite"]))
    if s["task"] == "codec":
        batches = codec_batches(corpus, **data, seed=s["seed"])
        fit_codec(run.path, *batches, network=s["codec"]["network"], **training)
    else:
        crops = vocoder_batches(corpus, **data, seed=s["seed"])
        export = {
            "codec_weights": s["paths"]["codec_weights"],
            "provenance": {"settings": identity(s)} | software(),
        }
        fit_vocoder(run.path, crops, **s["codec"], **training, **export)


def identity(s: Any) -> dict[str, Any]:
    """The settings that make one run another; where files lie is not among them, nor what an explicit
    plan overrules."""
    hidden = {"paths", "run", "overwrite", "cell"}
    if s.get("plan"):
        hidden |= {"ratio", "placement"}
    return {key: value for key, value in s.items() if key not in hidden}


def cell(s: Any) -> None:
    """One cell of a sweep: `eval.grid` trains and evaluates it in processes of their own."""
    job, grid = HydraConfig.get(), Path(s["run"])
    given, total = tuple(job.overrides.task), sweep_size(job.sweeper.get("params") or {}, sys.argv)
    one = Cell(s["ratio"], s["placement"], s["seed"], axes(given), (), {})
    check_version(grid, s["cell"]["mix"])
    try:
        plan = plan_of(s)
    except (ValueError, FileNotFoundError) as error:
        return refuse_cell(grid, one, str(error), total)
    settings = identity(s | {"plan": plan_letters(plan), "task": "distill"})
    one = replace(one, plan=plan, settings=settings)
    todo = stages(one, grid, Path(s["paths"]["teacher"]), given, s["cell"]["evaluate"])
    run_cell(grid, one, todo, total)


# task: (the name of its export, what builds it, what it reads)
TASKS = {
    "codec": ("network.safetensors", None, ()),
    "vocoder": ("vocoder.safetensors", None, ()),
    "teacher": ("teacher", teacher, ("tokens",)),
    "layerwise": ("student", layerwise, ("tokens", "teacher")),
    "distill": ("student", student, ("tokens", "teacher")),
}


def run(s: Any) -> None:
    """What the configuration asks for."""
    if s["task"] == "cell":
        return cell(s)
    export, build, names = TASKS[s["task"]]
    folder = RunFolder(Path(s["run"]), export)
    if build is None:
        return speech(s, folder)
    if s.get("init") == LAYERWISE:
        names = (*names, LAYERWISE)
    inputs = {name: Path(s["paths"][name]) for name in names}
    train_in(folder, lambda: build(s), identity(s), inputs, s["overwrite"])
