"""How much each layer of a teacher needs its attention: `python importance.py mode=<mode>`.

Writes <out>/<mode>.json, which `placement=<mode>` chooses layers by, and <out>/<mode>.svg.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import torch
from lightning import seed_everything
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import track

from data.datamodule import TokenDataModule
from eval.analysis.statistics import Interval, corpus_wer_interval, paired_difference_interval
from eval.metrics.asr.whisper import WhisperASR
from eval.metrics.text.profiles import PROFILES
from eval.scoring.score import score
from eval.scoring.scorers import Scorers
from eval.store.cache import Cache
from eval.store.database import Store
from eval.store.files import InputError, sha256_file
from eval.synthesis.build import build_systems, name_systems
from eval.synthesis.synthesize import synthesize
from eval.testset import read_meta
from lightning_modules.distill import DistillModule, Objective
from lightning_modules.run_folder import RunFolder
from lightning_modules.running import clear_errors, software, train_in
from mamtra.lm.checkpoint import load_lm, model_sha256, save_lm
from mamtra.lm.speech_lm import SpeechLM
from mamtra.transfer.importance import (
    LayerSamples,
    changed,
    cosine_samples,
    kl_samples,
    restored_plan,
)
from mamtra.transfer.scores import ImportanceScores, LayerScore
from mamtra.transfer.student import LAYERWISE, build_student
from studies.importance import capped_errors, plot_scores, score_table
from tasks import TOKENIZERS, load_teacher

CONSOLE = Console()


def tokens_of(s: Any, codes: int, max_tokens: int) -> TokenDataModule:
    batch = s["batch"] | {"max_tokens": max_tokens}
    text = TOKENIZERS[s["text"]](s)
    return TokenDataModule(s["paths"]["tokens"], text, codes, seed=s["seed"], **batch)


def layer_intervals(samples: LayerSamples) -> list[Interval]:
    """Mean per position of each layer, resampled over sequences."""
    names = [str(i) for i in range(len(samples.counts))]
    counts = samples.counts.numpy()
    return [corpus_wer_interval(sums, counts, names) for sums in samples.sums.numpy()]


def cosine(s: Any, teacher: SpeechLM) -> tuple[list[Interval], int]:
    batches = tokens_of(s, teacher.speech_vocab, s["batch"]["max_tokens"]).val_dataloader()
    samples = cosine_samples(teacher, batches, s["part"], s["skip"])
    return layer_intervals(samples), len(samples.counts)


def swap(s: Any, teacher: SpeechLM) -> tuple[list[Interval], int]:
    tokens = tokens_of(s, teacher.speech_vocab, s["batch"]["max_tokens"])
    batches, found, n = list(tokens.val_dataloader()), [], 0
    for layer in track(range(teacher.sizes.n_layers), "changing layers", console=CONSOLE):
        model = changed(teacher, layer, s["change"], tokens.calibration_batch())
        samples = kl_samples(teacher, model.eval(), batches)
        found += layer_intervals(samples)
        n = len(samples.counts)
    return found, n


def wer(s: Any, teacher: SpeechLM) -> tuple[list[Interval], int]:
    """Speaks with each changed teacher in <out>/wer-<change>/layer-<i>; finished parts are reused."""
    first, last = s["items"]
    items = read_meta(Path(s["testset"]["meta"]), last)[first:]
    folder, models = Path(s["out"]) / f"wer-{s['change']}", {"teacher": str(s["paths"]["teacher"])}
    calibration = tokens_of(s, teacher.speech_vocab, s["batch"]["max_tokens"]).calibration_batch()
    provenance = {"teacher_sha256": model_sha256(s["paths"]["teacher"]), "change": s["change"]}
    for layer in range(teacher.sizes.n_layers):
        path = folder / "models" / f"layer-{layer:02d}"
        save_lm(path, changed(teacher, layer, s["change"], calibration), provenance)
        models[path.name] = str(path)
    voices = {"codec_folder": Path(s["system"]["codec"]), "sampling": s["system"]["sampling"]}
    systems = build_systems(
        name_systems(models),
        items,
        folder,
        seed_index=s["seed"],
        device=s["device"],
        batch=s["synthesis_batch"],
        **voices,
    )
    asr = WhisperASR(s["asr"], cpu_threads=s["threads"])
    scorers = Scorers(asr, None, None, Cache(Path(s["cache"])), PROFILES["seedtts"])
    store, list_sha256 = Store(folder), sha256_file(Path(s["testset"]["meta"]))
    for system in systems:
        made = {"name": system.name, "console": CONSOLE}
        synthesize(system.items, system.voicer, store, **made)
        options = {"speech_recipe": system.recipe(), "test_set": list_sha256, "seed": s["seed"]}
        score(system.items, system.wavs, store, scorers, **options, **made)
    rows = {system.name: [one.row for one in store.scores(system.name)] for system in systems}
    baseline = rows.pop("teacher")
    words = [row["reference_words"] for row in baseline]
    clusters = [str(row["prompt"]) for row in baseline]
    usual = capped_errors(baseline, s["wer_cap"])
    found = [
        paired_difference_interval(capped_errors(r, s["wer_cap"]), usual, words, clusters)
        for r in rows.values()
    ]
    return found, len(items)


def kl(s: Any, teacher: SpeechLM) -> tuple[list[Interval], int]:
    """Distils an all-Mamba student and one per restored layer in <out>/kl/<plan>; finished ones are reused."""
    batches = list(tokens_of(s, teacher.speech_vocab, s["batch"]["max_tokens"]).val_dataloader())
    divergence = []
    for layer in (None, *range(teacher.sizes.n_layers)):
        name = "all-mamba" if layer is None else f"layer-{layer:02d}"
        run = RunFolder(Path(s["out"]) / "kl" / name, "student")
        CONSOLE.print(f"{name} -> {run.path}", soft_wrap=True)
        divergence.append(kl_samples(teacher, restored(s, teacher, layer, run), batches))
    without, *restoring = divergence
    names, counts = [str(i) for i in range(len(without.counts))], without.counts.numpy()
    found = [
        paired_difference_interval(without.sums[0].numpy(), kept.sums[0].numpy(), counts, names)
        for kept in restoring
    ]
    return found, len(counts)


def restored(s: Any, teacher: SpeechLM, layer: int | None, run: RunFolder) -> SpeechLM:
    """The briefly distilled student whose only attention layer is `layer`."""
    plan = restored_plan(teacher.sizes.n_layers, layer)
    inputs = {"tokens": Path(s["paths"]["tokens"]), "teacher": Path(s["paths"]["teacher"])}
    if s["start"] == LAYERWISE:
        inputs[LAYERWISE] = Path(s["layerwise"])

    def build() -> tuple[DistillModule, TokenDataModule]:
        tokens = tokens_of(s, teacher.speech_vocab, s["train_tokens"])
        mixers = load_lm(s["layerwise"]) if s["start"] == LAYERWISE else None
        student, report = build_student(
            teacher, plan, s["start"], tokens.calibration_batch(), mixers=mixers
        )
        fresh = report.fresh_parameter_names
        return DistillModule(
            teacher, student, Objective(**s["objective"]), s["optimizer"], fresh
        ), tokens

    names = ("seed", "steps", "trainer", "batch", "train_tokens", "start", "objective", "optimizer")
    train_in(
        run, build, {name: s[name] for name in names} | {"plan": plan}, inputs, overwrite=False
    )
    return load_lm(run.export)


UNITS = {
    "cosine": "1 - cosine",
    "kl": "nats of KL to the teacher saved",
    "swap": "nats of KL to the teacher",
    "wer": "WER above the teacher's",
}
MODES = {"cosine": cosine, "kl": kl, "swap": swap, "wer": wer}


def scores_of(s: Any, found: Sequence[Interval], n: int) -> ImportanceScores:
    """What `placement=<mode>` reads, with everything that it depends on but machine paths."""
    hidden = ("paths", "system", "testset", "out", "mode", "cache", "layerwise", "threads")
    settings = {key: value for key, value in s.items() if key not in hidden}
    layers = tuple(LayerScore(float(i.point), i.low, i.high) for i in found)
    teacher_sha256 = model_sha256(s["paths"]["teacher"])
    return ImportanceScores(
        s["mode"], UNITS[s["mode"]], teacher_sha256, n, settings, software(), layers
    )


@hydra.main(config_path="configs", config_name="importance", version_base="1.3")
@clear_errors()
def main(config: DictConfig) -> None:
    s: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    torch.set_num_threads(s["threads"])
    seed_everything(s["seed"], verbose=False)
    path = Path(s["out"]) / f"{s['mode']}.json"
    teacher = load_teacher(s["paths"]["teacher"])
    try:
        found, n = MODES[s["mode"]](s, teacher)
    except InputError as error:
        raise ValueError(str(error)) from error
    scores = scores_of(s, found, n)
    scores.save(path)
    plot_scores(scores, path.with_suffix(".svg"))
    CONSOLE.print(score_table(scores))
    CONSOLE.print(f"-> {path}\n-> {path.with_suffix('.svg')}", soft_wrap=True)


if __name__ == "__main__":
    main()
