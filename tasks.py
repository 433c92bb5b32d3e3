"""What `train.py` can do, one function per task: builds from typed settings and runs."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities import rank_zero_only

from data.datamodule import TokenDataModule
from lightning_modules.alignment import embed_codes_as_letters
from lightning_modules.base import LanguageModelModule
from lightning_modules.console import say
from lightning_modules.distill import DistillModule
from lightning_modules.identity import result_settings
from lightning_modules.launched import shared_step
from lightning_modules.layerwise import LayerwiseModule
from lightning_modules.precision import with_precision
from lightning_modules.run_folder import RunFolder
from lightning_modules.running import train_in
from lightning_modules.teacher import TeacherModule
from lightning_modules.trainer_settings import (
    TrainingLength,
    check_global_batch,
    with_arguments,
)
from mamtra.backbone.layer_plan import (
    ATTENTION,
    MEASURED,
    LayerPlan,
    check_plan,
    draw,
    layer_plan,
    parse_plan,
    plan_letters,
)
from mamtra.lm.checkpoint import load_lm
from mamtra.lm.speech_lm import SpeechLM
from mamtra.systems import TextFrontend, load_text, text_name
from mamtra.transfer.report import TransferReport
from mamtra.transfer.scores import load_scores
from mamtra.transfer.student import LAYERWISE, build_student
from mamtra.transfer.teacher import count_layers, load_teacher
from settings import SettingsError, typed
from settings.training import (
    BatchSettings,
    CellSettings,
    CodecSettings,
    DistillSettings,
    ModelSettings,
    Paths,
    StudentSettings,
    TaskSettings,
    TeacherSettings,
    VocoderSettings,
)
from speech_tasks import train_codec, train_vocoder
from tasks_mvc import MVC_TASKS

Run = tuple[LanguageModelModule, TokenDataModule]
Build = Callable[[], Run]


def frontend(paths: Paths, text: str | None) -> TextFrontend:
    """The text frontend of that name, or of the codec in paths.assets."""
    return load_text(text_name(text, paths.assets), paths.cosyvoice2)


def token_data(
    paths: Paths,
    text: str | None,
    codes: int,
    batch: BatchSettings,
    seed: int,
    train_paths: Sequence[Path] = (),
) -> TokenDataModule:
    """The token table at `paths.tokens`, or `train_paths` to train on, for a model of `codes` speech codes."""
    given = {"seed": seed, "train_paths": train_paths, **asdict(batch)}
    return TokenDataModule(paths.tokens, frontend(paths, text), codes, **given)


def teacher(s: TeacherSettings) -> Run:
    """An all-attention SpeechLM from scratch."""
    sizes, codes = s.lm.sizes, s.lm.speech_vocab
    tokens = token_data(s.paths, s.text, codes, s.batch, s.seed)
    text_vocab = frontend(s.paths, s.text).vocab_size
    plan = layer_plan(sizes.n_layers, "1:0", "blockbeg")
    lm = SpeechLM(sizes, plan, text_vocab, codes, dropout=s.lm.dropout)
    if s.alignment.weight:
        embed_codes_as_letters(lm, tokens.train_table)
    guide = asdict(s.alignment)
    return TeacherModule(lm, s.optimizer, s.label_smoothing, guide, s.corruption), tokens


def plan_of(s: StudentSettings) -> LayerPlan:
    """The explicit `plan`, or what `ratio` and `placement` mean for the teacher's layers."""
    n_layers = count_layers(s.paths.teacher)
    if s.plan:
        return check_plan(parse_plan(s.plan), n_layers)
    scores = None
    if s.placement in MEASURED:
        file = s.paths.importance / f"{s.placement}.json"
        scores = load_scores(file, s.placement, s.paths.teacher).values
    return layer_plan(n_layers, s.ratio, s.placement, scores, s.mixer)


def converted(
    s: StudentSettings, train_paths: Sequence[Path] = ()
) -> tuple[SpeechLM, TokenDataModule, SpeechLM, TransferReport]:
    """(teacher, tokens, student to be trained, what the transfer did)."""
    source = load_teacher(s.paths.teacher)
    mixers = load_lm(s.paths.layerwise) if s.init == LAYERWISE else None
    plan = plan_of(s)
    tokens = token_data(s.paths, s.text, source.speech_vocab, s.batch, s.seed, train_paths)
    parts = (source, plan, s.init, tokens.calibration_batch())
    options: Any = asdict(s.transfer) | {"state": s.state, "state_dtype": s.state_dtype}
    lm, report = build_student(*parts, mixers=mixers, window=s.window.size, **options)
    rank_zero_only(report.print)()
    say(f"layers: {draw(plan)}")
    return source, tokens, lm, report


def trained_on(s: DistillSettings) -> dict[str, Path]:
    """The token tables of `data`. Raises FileNotFoundError, saying how it is made, when one is missing."""
    places = {"recordings": s.paths.tokens, "teacher_generated": s.paths.generated}
    made = s.paths.generated
    if "teacher_generated" in s.data.tables and not made.is_file():
        raise FileNotFoundError(
            f"{made} (paths.generated) does not exist: make it with `python -m data.teacher_generated "
            f"teacher={s.paths.teacher} tokens={s.paths.tokens} codec=<folder of the codec> out={made}`"
        )
    return {name: places[name] for name in s.data.tables}


def student(s: DistillSettings) -> Run:
    """The teacher with layers turned into other layers, to be distilled from it."""
    source, tokens, lm, report = converted(s, tuple(trained_on(s).values()))
    options = (s.objective, s.optimizer, report.fresh_parameter_names)
    more = {**asdict(s.memory), "window_start": s.window.start, "on_policy": s.data.on_policy}
    return DistillModule(source, lm, *options, **more), tokens


def layerwise(s: StudentSettings) -> Run:
    """All layers turned into Mamba layers, each to be trained by itself."""
    source, tokens, lm, report = converted(s)
    return LayerwiseModule(source, lm, s.optimizer, report.fresh_parameter_names), tokens


# Settings that came after runs which can still be resumed, at the values that those runs had.
LATER: Mapping[str, Any] = {
    "mixer": "mamba",
    "window": {"size": 32, "start": None},
    "callbacks": {},
    "state": "per_head",
    "state_dtype": "fp32",
}


def identity(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make one run another; where files lie is not among them, nor what an explicit
    plan overrules."""
    hidden = {"paths", "run", "overwrite", "cell", "logger", "profiler"}
    if plain.get("plan"):
        hidden |= {"ratio", "placement", "mixer"}
    hidden |= {key for key, before in LATER.items() if plain.get(key) == before}
    return {key: value for key, value in plain.items() if key not in hidden}


def train_model(
    s: ModelSettings, own: Mapping[str, Any], name: str, more: Mapping[str, Path], build: Build
) -> None:
    """Trains what `build` makes; exports it as <run>/<name>. `more`: what it reads besides tokens."""
    length = TrainingLength(s.seed, s.steps, s.epochs)
    inputs, folder = {"tokens": s.paths.tokens, **more}, RunFolder(s.run, name)
    say(check_global_batch(s.trainer, s.batch.max_tokens, s.optimizer.lr))
    options = {"length": length, "trainer": s.trainer, "watching": s.watching}
    train_in(folder, build, own, inputs, s.overwrite, **options)


def read_by_student(s: StudentSettings) -> dict[str, Path]:
    """What a student is made of."""
    mixers = {LAYERWISE: s.paths.layerwise} if s.init == LAYERWISE else {}
    return {"teacher": s.paths.teacher, **mixers}


def train_teacher(s: TeacherSettings, own: Mapping[str, Any]) -> None:
    """task=teacher."""
    train_model(s, own, "teacher", {}, lambda: teacher(s))


def train_layers(s: StudentSettings, own: Mapping[str, Any]) -> None:
    """task=layerwise."""
    train_model(s, own, "student", read_by_student(s), lambda: layerwise(s))


def train_student(s: DistillSettings, own: Mapping[str, Any]) -> None:
    """task=distill."""
    more = read_by_student(s) | trained_on(s)
    more.pop("recordings", None)  # which is hashed as "tokens": validation is always on them
    train_model(s, own, "student", more, lambda: student(s))


def continue_teacher(s: DistillSettings, own: Mapping[str, Any]) -> None:
    """task=continue: the control of every student, which has its data, steps and rate."""
    if set(plan_of(s)) != {ATTENTION}:
        raise SettingsError(
            f"task=continue trains the teacher itself on: ratio=1to0, not {s.plan or s.ratio}"
        )
    train_student(s, own)


def sweep_cell(s: CellSettings, own: Mapping[str, Any]) -> None:
    """task=cell: `studies.grid` trains and evaluates it in processes of their own."""
    # Here, because a grid is scored and so needs the [eval] extra; training alone does not.
    from studies.grid import Cell, axes, check_version, refuse_cell, run_cell, stages, sweep_size
    from studies.grid_table import CONTINUED
    from studies.tasks_of_step import join

    job, grid = HydraConfig.get(), s.run
    given, total = tuple(job.overrides.task), sweep_size(job.sweeper.get("params") or {}, sys.argv)
    placement = CONTINUED if s.cell.continued else s.placement
    one = Cell(s.ratio, placement, s.seed, axes(given), (), {})
    step = shared_step(s.trainer.world_size, job.job.num)
    first = step is None or step.rank == 0
    if first:
        check_version(grid, s.cell.mix)
    try:
        plan = plan_of(s)
    except (ValueError, FileNotFoundError) as error:
        return refuse_cell(grid, one, str(error), total) if first else None
    settings = identity({**own, "plan": plan_letters(plan), "task": one.task})
    length = {"steps": s.steps, "epochs": s.epochs}  # another length is another cell
    one = replace(one, plan=plan, settings=result_settings(settings) | length)
    todo = stages(one, grid, s.paths.teacher, given, s.cell.evaluate)
    if first:
        run_cell(grid, one, todo, total, step)
    elif step is not None:
        join(grid / "works" / one.work, step, todo[0].argv)


S = TypeVar("S", bound=TaskSettings)


@dataclass(frozen=True)
class Task(Generic[S]):
    """The settings of a task, and what does it: called with them and the run's `identity`."""

    settings: type[S]
    do: Callable[[S, Mapping[str, Any]], object]


TASKS: Mapping[str, Task[Any]] = {
    "codec": Task(CodecSettings, train_codec),
    "vocoder": Task(VocoderSettings, train_vocoder),
    "teacher": Task(TeacherSettings, train_teacher),
    "layerwise": Task(StudentSettings, train_layers),
    "distill": Task(DistillSettings, train_student),
    "continue": Task(DistillSettings, continue_teacher),
    "cell": Task(CellSettings, sweep_cell),
    **{name: Task(settings, do) for name, (settings, do) in MVC_TASKS.items()},
}


def run(plain: dict[str, Any]) -> None:
    """What a resolved configuration asks for. Raises SettingsError, and what the task raises."""
    plain = with_arguments(with_precision(plain))
    if plain["task"] not in TASKS:
        raise SettingsError(f"unknown task {plain['task']!r}; valid: {', '.join(TASKS)}")
    if "text" in plain:  # decided here, because it is part of a run's identity
        plain["text"] = text_name(plain["text"], Path(plain["paths"]["assets"]))
    task = TASKS[plain["task"]]
    task.do(typed(task.settings, plain), identity(plain))
