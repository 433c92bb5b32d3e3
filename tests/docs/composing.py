"""Whether a command of a document would be accepted: composed and typed, arguments parsed, nothing run.

Every function raises `Refused` with what a reader would be told.
"""

from __future__ import annotations

import ast
import itertools
import re
import runpy
import sys
import tomllib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

import data.arguments
from eval.command_line import check_keys, help_of, put_literals, split_literals, stage_of
from eval.metrics.registry import build_scorers
from eval.metrics.settings import MetricSettings
from eval.metrics.setup import set_up
from eval.metrics.weights import Unavailable
from eval.settings import Metrics
from eval.stages import STAGES
from eval.store.files import InputError
from importance import MODES
from lightning_modules.trainer_settings import with_arguments
from settings import SettingsError, plain_settings, typed, typed_settings
from tasks import TASKS

ROOT = Path(__file__).parents[2]
CONFIGS = str(ROOT / "configs")
REFUSALS = (InputError, Unavailable, SettingsError, HydraException, ValueError)
# Programs of others: that they are installed is the reader's affair.
OTHERS = ("git", "hf", "cd", "seq", "xargs")


class Refused(Exception):
    """The command would fail; the message says why."""


def check(words: Sequence[str]) -> None:
    """A command as a shell splits it."""
    program, *arguments = words
    if program == "python" and arguments:
        return _python(*arguments)
    if program == "make":
        return _make(arguments)
    if program == "pytest":
        return _pytest(arguments)
    if program == "pip":
        return _pip(arguments)
    if program == "torchrun":
        return _torchrun(arguments)
    if program not in OTHERS:
        raise Refused(f"no test knows the command {program}")


def _python(first: str, *rest: str) -> None:
    if first == "-m" and rest:
        return _module(rest[0], rest[1:])
    entry = {"train.py": train, "evaluate.py": evaluate, "importance.py": importance}
    if first not in entry:
        raise Refused(f"python {first}: documents run {', '.join(entry)} or -m <module>")
    entry[first](rest)


def composed(name: str, overrides: Sequence[str], version: str | None) -> Any:
    """A configuration, as hydra.main makes it."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(CONFIGS, version_base=version):
        return compose(name, overrides=list(overrides))


def train(arguments: Sequence[str]) -> None:
    """train.py: every option of a sweep once, typed as its task is."""
    multirun = [a for a in arguments if a in ("-m", "--multirun")]
    overrides = [a for a in arguments if a not in multirun]
    try:
        for job in jobs_of(overrides) if multirun else [overrides]:
            plain = with_arguments(plain_settings(composed("train", job, None)))
            typed(TASKS[plain["task"]].settings, plain)
    except REFUSALS as error:
        raise Refused(f"train.py: {error}") from error


def jobs_of(overrides: Sequence[str]) -> list[list[str]]:
    """Jobs of a sweep in which every option occurs; groups do not depend on each other."""
    parsed = OverridesParser.create().parse_overrides(overrides=list(overrides))
    fixed = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
    swept = [o for o in parsed if o.is_sweep_override()]
    axes = [BasicSweeper.split_arguments([o], max_batch_size=None)[0] for o in swept]
    if not axes:
        return [list(fixed)]
    columns = [[line for [line] in axis] for axis in axes]
    rows = itertools.zip_longest(*columns)
    return [[*fixed, *(c or d[0] for c, d in zip(row, columns, strict=True))] for row in rows]


def evaluate(arguments: Sequence[str], named: bool = True) -> None:
    """evaluate.py, or the help of a stage; `named`: its metrics have to be ones that are known."""
    try:
        stage = stage_of(arguments)
        if "--help" in arguments or "-h" in arguments:
            help_of(stage)
            arguments = [a for a in arguments if a not in ("--help", "-h")]
        else:
            check_keys(arguments)
            read, literal = split_literals(arguments)
            config = composed("evaluate", read, "1.3")
            put_literals(config, literal)
            settings = typed_settings(STAGES[stage][0], config)
            if isinstance(settings, Metrics) and named:
                _metrics(settings)
    except REFUSALS as error:
        raise Refused(f"evaluate.py: {error}") from error


def _metrics(s: Any) -> None:
    """Names of recognisers, encoders and profiles, and whether they go together."""
    first = s.device if isinstance(s.device, str) else s.device[0]
    asr = s.asr if isinstance(s.asr, str) else tuple(s.asr)
    names = {"asr_batch": s.asr_batch, "asr_tokens_per_s": s.asr_tokens_per_s, "device": first}
    names |= {"profile": s.profile, "speaker": s.speaker, "mos": s.mos, "threads": s.threads}
    build_scorers(set_up(MetricSettings(language=s.testset.language, asr=asr, **names)))


def importance(arguments: Sequence[str]) -> None:
    """importance.py, typed as its mode is."""
    try:
        plain = plain_settings(composed("importance", arguments, "1.3"))
        typed(MODES[plain["mode"]].settings, plain)
    except REFUSALS as error:
        raise Refused(f"importance.py: {error}") from error


class _Parsed(Exception):
    """The arguments were accepted; what would follow is the work."""


def _module(name: str, arguments: Sequence[str]) -> None:
    """`python -m name key=value ...`: by its own parser where it has one, else by the keys its text names."""
    if name == "pytest":
        return _pytest(arguments)
    if name == "pip":
        return _pip(arguments)
    path = ROOT / f"{name.replace('.', '/')}.py"
    if not path.is_file():
        raise Refused(f"python -m {name}: there is no such module")
    text = path.read_text()
    if "parse_arguments(" not in text:
        known = set(re.findall(r"(\w+)=", ast.get_docstring(ast.parse(text)) or ""))
        unknown = [a for a in arguments if a.partition("=")[0] not in known or "=" not in a]
        if unknown:
            raise Refused(f"python -m {name} has no {unknown[0]!r}; its text names {sorted(known)}")
        return None
    parse = data.arguments.parse_arguments

    def accept(*args: Any, **options: Any) -> None:
        parse(*args, **options)
        raise _Parsed

    with (
        mock.patch.object(data.arguments, "parse_arguments", accept),
        mock.patch.object(sys, "argv", [name, *arguments]),
    ):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except _Parsed:
            return None
        except SystemExit as error:
            raise Refused(f"python -m {name}: {error}") from error
    raise Refused(f"python -m {name} reads no arguments")


def _make(arguments: Sequence[str]) -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]*):", text, re.MULTILINE))
    variables = set(re.findall(r"^(?:export )?([A-Z_]+) [?:]?=", text, re.MULTILINE))
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if name not in (variables if equals else targets):
            raise Refused(f"make {argument}: the Makefile has no {name}")


def _pytest(arguments: Sequence[str]) -> None:
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    known = {line.partition(":")[0] for line in markers["markers"]}
    rest = list(arguments)
    while rest:
        first = rest.pop(0)
        if first == "-m":
            chosen = set(re.findall(r"\w+", rest.pop(0))) - {"not", "and", "or"}
            if chosen - known:
                raise Refused(f"pytest -m {chosen - known}: pyproject.toml has no such marker")
        elif not first.startswith("-") and not (ROOT / first.partition("::")[0]).exists():
            raise Refused(f"pytest {first}: no such file or folder")


def _pip(arguments: Sequence[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for argument in arguments:
        wanted = re.fullmatch(r"\.\[([\w,]+)\]", argument)
        for name in wanted[1].split(",") if wanted else ():
            if name not in extras:
                raise Refused(f"pip install {argument}: pyproject.toml has no extra {name}")
        if argument.startswith(".[") and not wanted:
            raise Refused(f"pip install {argument}: not a list of extras")


def _torchrun(arguments: Sequence[str]) -> None:
    rest = list(itertools.dropwhile(lambda a: a.startswith("-"), arguments))
    if not rest or rest[0] != "train.py":
        raise Refused("torchrun: documents run train.py with it")
    train(rest[1:])


def check_settings(words: Sequence[str]) -> None:
    """Settings without their command, such as `ratio=1to3 init=paper`: some command takes all of them."""
    refused = []
    # A test set alone says nothing of the recogniser that goes with its language.
    fragment = partial(
        evaluate, named=any(w.startswith(("asr=", "speaker=", "mos=")) for w in words)
    )
    stages = [stage for stage in STAGES if _has_keys(stage, words)]
    attempts: list[tuple[Any, list[str]]] = [
        (fragment, [*({"ratings": ["ratings=x"]}.get(stage, [])), *_stage(stage, words)])
        for stage in stages
    ]
    experiments = () if any(w.startswith("experiment=") for w in words) else EXPERIMENTS
    attempts += [(train, ["-m", f"experiment={name}", *words]) for name in experiments]
    attempts += [(train, ["-m", *words])] if not experiments else []
    modes = () if any(w.startswith("mode=") for w in words) else ("cosine", "kl", "wer", "swap")
    attempts += [(importance, [f"mode={mode}", *words]) for mode in modes]
    attempts += [(importance, list(words))] if not modes else []
    for command, arguments in attempts:
        try:
            return command(arguments)
        except Refused as error:
            refused.append(str(error).splitlines()[0])
    tools = [path for path in TOOLS if set(keys(words)) <= tool_keys(path)]
    if not tools and not set(keys(words)) <= MAKE_VARIABLES:
        raise Refused(f"no command takes {' '.join(words)}: {refused[0] if refused else ''}")


EXPERIMENTS = ("mini_distill", "mini_teacher", "cosyvoice2_explore", "mini_grid", "mvc_train")
TOOLS = sorted(
    p for folder in ("data", "tools", "studies", "eval") for p in (ROOT / folder).rglob("*.py")
)
MAKE_VARIABLES = {"JOBS", "GRID", "LAYERWISE", "PYTHON", "OMP_NUM_THREADS"}


def keys(words: Sequence[str]) -> list[str]:
    return [word.partition("=")[0].lstrip("+~") for word in words]


def tool_keys(path: Path) -> set[str]:
    """The keys that the usage line of a module names."""
    usage = re.findall(r"^ *python -m [^\n]*", path.read_text(), re.MULTILINE)
    return {key for line in usage for key in re.findall(r"(\w+)=", line)}


def _stage(stage: str, words: Sequence[str]) -> list[str]:
    return [*words] if any(w.startswith("stage=") for w in words) else [f"stage={stage}", *words]


def _has_keys(stage: str, words: Sequence[str]) -> bool:
    if any(w.startswith("stage=") and w != f"stage={stage}" for w in words):
        return False
    try:
        check_keys(_stage(stage, words))
    except InputError:
        return False
    return True
