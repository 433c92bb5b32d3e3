"""How much each layer of a teacher needs its attention: `python importance.py mode=<mode>`.

Writes <out>/<mode>.json, which `placement=<mode>` chooses layers by, and <out>/<mode>.svg.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import hydra
import torch
from lightning import seed_everything
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from data.datamodule import TokenDataModule
from eval.analysis.measures import voices_of
from eval.analysis.statistics import Interval, paired_difference, rate_interval
from eval.metrics.settings import word_error_settings
from eval.scoring.score import score
from eval.scoring.scorers import scorers_of
from eval.store.database import Store
from eval.store.files import InputError, sha256_file
from eval.synthesis.build import build_systems, name_systems
from eval.synthesis.synthesize import synthesize
from eval.testset import read_meta
from lightning_modules.distill import DistillModule
from lightning_modules.ending import clear_errors
from lightning_modules.fit import software
from lightning_modules.precision import with_precision
from lightning_modules.run_folder import RunFolder
from lightning_modules.running import train_in
from lightning_modules.trainer_settings import TrainingLength, with_arguments
from lightning_modules.watching import Watching
from mamtra.lm.checkpoint import load_lm, model_sha256, save_lm
from mamtra.lm.speech_lm import SpeechLM
from mamtra.transfer.measure_alignment import alignment_samples
from mamtra.transfer.measure_layers import (
    LayerSamples,
    changed,
    cosine_samples,
    kl_samples,
    restored_plan,
)
from mamtra.transfer.scores import ImportanceScores, LayerScore
from mamtra.transfer.student import LAYERWISE, build_student
from mamtra.transfer.teacher import load_teacher
from settings import SettingsError, plain_settings, typed
from settings.importance import (
    CosineSettings,
    KlSettings,
    ModeSettings,
    SwapSettings,
    WerSettings,
)
from studies.layer_report import capped_errors, plot_scores, score_table
from tasks import token_data

CONSOLE = Console()
Found = tuple[list[Interval], int]  # of every layer; sequences that they were measured on


def tokens_of(s: ModeSettings, teacher: SpeechLM, max_tokens: int) -> TokenDataModule:
    batch = replace(s.batch, max_tokens=max_tokens)
    return token_data(s.paths, s.text, teacher.speech_vocab, batch, s.seed)


def layer_intervals(samples: LayerSamples) -> list[Interval]:
    """Mean per position of each layer, over sequences."""
    names = [str(i) for i in range(len(samples.counts))]
    counts = samples.counts.numpy()
    # Distances are not negative but by rounding.
    return [rate_interval(sums.clip(0), counts, names) for sums in samples.sums.numpy()]


def cosine(s: CosineSettings, own: Mapping[str, Any], teacher: SpeechLM) -> Found:
    batches = tokens_of(s, teacher, s.batch.max_tokens).val_dataloader()
    samples = cosine_samples(teacher, batches, s.part, s.skip)
    return layer_intervals(samples), len(samples.counts)


def oas(s: ModeSettings, own: Mapping[str, Any], teacher: SpeechLM) -> Found:
    """Says which head of each layer it is."""
    batches = tokens_of(s, teacher, s.batch.max_tokens).val_dataloader()
    samples, heads = alignment_samples(teacher, batches)
    CONSOLE.print(f"best aligned heads: {' '.join(map(str, heads))}", markup=False)
    return layer_intervals(samples), len(samples.counts)


def swap(s: SwapSettings, own: Mapping[str, Any], teacher: SpeechLM) -> Found:
    tokens = tokens_of(s, teacher, s.batch.max_tokens)
    batches, found, n = list(tokens.val_dataloader()), [], 0
    for layer in track(range(teacher.sizes.n_layers), "changing layers", console=CONSOLE):
        calibration = tokens.calibration_batch().to(teacher.device)
        model = changed(teacher, layer, s.change, calibration)
        samples = kl_samples(teacher, model.eval(), batches)
        found += layer_intervals(samples)
        n = len(samples.counts)
    return found, n


def wer(s: WerSettings, own: Mapping[str, Any], teacher: SpeechLM) -> Found:
    """Speaks with each changed teacher in <out>/wer-<change>/layer-<i>; finished parts are reused."""
    first, last = s.items
    items = read_meta(s.testset.meta, last)[first:]
    folder, models = s.out / f"wer-{s.change}", {"teacher": str(s.paths.teacher)}
    calibration = tokens_of(s, teacher, s.batch.max_tokens).calibration_batch().to(teacher.device)
    provenance = {"teacher_sha256": model_sha256(s.paths.teacher), "change": s.change}
    for layer in range(teacher.sizes.n_layers):
        path = folder / "models" / f"layer-{layer:02d}"
        save_lm(path, changed(teacher, layer, s.change, calibration), provenance)
        models[path.name] = str(path)
    voices = {"codec_folder": s.system.codec, "sampling": s.system.sampling}
    how = {"dtype": s.system.dtype, "compiled": s.system.compiled}
    systems = build_systems(
        name_systems(models),
        items,
        folder,
        seed_index=s.seed,
        device=s.device,
        batch=s.synthesis_batch,
        **voices,
        **how,
    )
    scorers = scorers_of(word_error_settings(s.asr, s.threads), s.cache)
    store, list_sha256 = Store(folder), sha256_file(s.testset.meta)
    for system in systems:
        assert system.voicer is not None  # they are models
        made = {"name": system.name, "console": CONSOLE}
        synthesize(system.items, system.voicer, store, **made)
        options = {"speech_recipe": system.recipe(), "test_set": list_sha256, "seed": s.seed}
        score(system.items, system.wavs, store, scorers, **options, **made)
    rows = {system.name: [one.row for one in store.scores(system.name)] for system in systems}
    baseline = rows.pop("teacher")
    words = [row["reference_words"] for row in baseline]
    clusters = voices_of(baseline)
    usual = capped_errors(baseline, s.wer_cap)
    found: list[Interval] = [
        paired_difference(capped_errors(r, s.wer_cap), usual, words, clusters)
        for r in rows.values()
    ]
    return found, len(items)


def kl(s: KlSettings, own: Mapping[str, Any], teacher: SpeechLM) -> Found:
    """Distils an all-Mamba student and one per restored layer in <out>/kl/<plan>; finished ones are reused."""
    batches = list(tokens_of(s, teacher, s.batch.max_tokens).val_dataloader())
    divergence = []
    for layer in (None, *range(teacher.sizes.n_layers)):
        name = "all-mamba" if layer is None else f"layer-{layer:02d}"
        run = RunFolder(s.out / "kl" / name, "student")
        CONSOLE.print(f"{name} -> {run.path}", soft_wrap=True, markup=False)
        student = restored(s, own, teacher.cpu(), layer, run)  # the trainer moves both
        divergence.append(kl_samples(teacher.to(s.device), student.to(s.device), batches))
    without, *restoring = divergence
    names, counts = [str(i) for i in range(len(without.counts))], without.counts.numpy()
    found: list[Interval] = [
        paired_difference(without.sums[0].numpy(), kept.sums[0].numpy(), counts, names)
        for kept in restoring
    ]
    return found, len(counts)


def restored(
    s: KlSettings, own: Mapping[str, Any], teacher: SpeechLM, layer: int | None, run: RunFolder
) -> SpeechLM:
    """The briefly distilled student whose only attention layer is `layer`."""
    plan = restored_plan(teacher.sizes.n_layers, layer)
    inputs = {"tokens": s.paths.tokens, "teacher": s.paths.teacher}
    if s.start == LAYERWISE:
        inputs[LAYERWISE] = s.paths.layerwise

    def build() -> tuple[DistillModule, TokenDataModule]:
        tokens = tokens_of(s, teacher, s.train_tokens)
        mixers = load_lm(s.paths.layerwise) if s.start == LAYERWISE else None
        student, report = build_student(
            teacher, plan, s.start, tokens.calibration_batch(), mixers=mixers
        )
        fresh = report.fresh_parameter_names
        return DistillModule(teacher, student, s.objective, s.optimizer, fresh), tokens

    names = ("seed", "steps", "trainer", "batch", "train_tokens", "start", "objective", "optimizer")
    identity = {name: own[name] for name in names} | {"plan": plan}
    length = TrainingLength(s.seed, s.steps, None)
    options = {"length": length, "trainer": s.trainer, "watching": Watching.by_csv(run.path)}
    train_in(run, build, identity, inputs, overwrite=False, **options)
    return load_lm(run.export)


S = TypeVar("S", bound=ModeSettings)


@dataclass(frozen=True)
class Mode(Generic[S]):
    """The settings of a mode, what measures (called with them, the same as plain containers, and the
    teacher), and what a score is."""

    settings: type[S]
    measure: Callable[[S, Mapping[str, Any], SpeechLM], Found]
    unit: str


MODES: Mapping[str, Mode[Any]] = {
    "cosine": Mode(CosineSettings, cosine, "1 - cosine"),
    "oas": Mode(ModeSettings, oas, "attention on the best monotonic path"),
    "kl": Mode(KlSettings, kl, "nats of KL to the teacher saved"),
    "swap": Mode(SwapSettings, swap, "nats of KL to the teacher"),
    "wer": Mode(WerSettings, wer, "WER above the teacher's"),
}


def scores_of(
    s: ModeSettings, own: Mapping[str, Any], found: Sequence[Interval], n: int
) -> ImportanceScores:
    """What `placement=<mode>` reads, with everything that it depends on but machine paths."""
    hidden = ("paths", "system", "testset", "out", "mode", "cache", "threads")
    settings = {key: value for key, value in own.items() if key not in hidden}
    layers = tuple(LayerScore(float(i.point), i.low, i.high) for i in found)
    teacher_sha256, unit = model_sha256(s.paths.teacher), MODES[s.mode].unit
    return ImportanceScores(s.mode, unit, teacher_sha256, n, settings, software(), layers)


@hydra.main(config_path="configs", config_name="importance", version_base="1.3")
@clear_errors()
def main(config: DictConfig) -> None:
    own = with_arguments(with_precision(plain_settings(config)))
    if own["mode"] not in MODES:
        raise SettingsError(f"unknown mode {own['mode']!r}; valid: {', '.join(MODES)}")
    mode = MODES[own["mode"]]
    s = typed(mode.settings, own)
    torch.set_num_threads(s.threads)
    seed_everything(s.seed, verbose=False)
    teacher = load_teacher(s.paths.teacher).to(s.device)
    try:
        found, n = mode.measure(s, own, teacher)
    except InputError as error:
        raise ValueError(str(error)) from error
    scores, path = scores_of(s, own, found, n), s.out / f"{s.mode}.json"
    scores.save(path)
    plot_scores(scores, path.with_suffix(".svg"))
    CONSOLE.print(score_table(scores))
    written = f"-> {path}\n-> {path.with_suffix('.svg')}"
    CONSOLE.print(written, soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
