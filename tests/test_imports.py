"""Who may import whom: the import directions of the packages, read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("mamtra", "lightning_modules", "data", "eval", "studies")
TOP = (
    "train",
    "evaluate",
    "tasks",
    "tasks_mvc",
    "speech_tasks",
    "importance",
    "settings",
)  # which no package may import
# What a module may import of this project: the longest prefix that matches its name decides.
# Importing within that prefix is always allowed.
ALLOWED = {
    "mamtra": ("mamtra",),
    "mamtra.text": (),
    "mamtra.speech": ("mamtra.weights_file",),
    "mamtra.backbone": (),
    "mamtra.lm": ("mamtra.backbone", "mamtra.weights_file", "mamtra.model_folder"),
    "mamtra.mvc": ("mamtra.backbone", "mamtra.speech", "mamtra.model_folder"),
    "mamtra.transfer": ("mamtra.lm", "mamtra.backbone", "mamtra.weights_file"),
    "lightning_modules": ("mamtra",),
    "data": (
        *("mamtra.text", "mamtra.speech", "mamtra.lm.sequence", "mamtra.weights_file"),
        *("mamtra.mvc.batch", "mamtra.mvc.voice", "mamtra.mvc.aligner", "mamtra.model_folder"),
    ),
    "data.teacher_generated": ("data", "mamtra"),  # a command: it lets a model speak
    "data.pack": ("data", "mamtra.systems"),  # a command: it takes a text frontend by its name
    # store <- testset <- synthesis, scoring <- analysis <- report, listening <- stages <- studies.
    "eval": ("mamtra",),
    "eval.store": (),
    "eval.metrics": (),
    "eval.console": (),
    "eval.settings": (),
    "eval.testset": ("eval.store",),
    "eval.prompt": ("eval.store", "eval.metrics"),
    "eval.synthesis": (
        *("mamtra", "eval.store", "eval.testset", "eval.console"),
        "eval.metrics.prosody.pitch",  # of recordings through the vocoder alone
    ),
    "eval.scoring": ("eval.store", "eval.testset", "eval.metrics", "eval.console", "eval.settings"),
    "eval.efficiency": ("mamtra", "eval.store", "eval.synthesis", "eval.console", "eval.settings"),
    "eval.analysis": ("eval.store", "eval.metrics"),
    "eval.prosody": (
        *("eval.store", "eval.testset", "eval.metrics", "eval.analysis", "eval.settings"),
        *("eval.console", "data.workers"),
    ),
    "eval.report": (
        *("eval.analysis", "eval.store", "eval.metrics", "eval.efficiency", "eval.console"),
        *("eval.settings", "mamtra.backbone.layer_plan"),
    ),
    "eval.listening": (
        "eval.console",
        "eval.report",
        "eval.analysis",
        "eval.store",
        "eval.metrics",
    ),
    "eval.play": (
        *("mamtra", "eval.synthesis", "eval.metrics", "eval.report", "eval.prompt", "eval.store"),
        *("eval.testset", "eval.settings"),
    ),
    "studies": (
        *("eval", "mamtra", "lightning_modules.slurm", "lightning_modules.launched"),
        "lightning_modules.stopping",
    ),
}


def imports_of(path: Path) -> set[str]:
    """Absolute names of every import in a file, function-level ones too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def forbidden(module: str, imported: set[str]) -> set[str]:
    """The project imports of `module` that the rules do not allow."""
    home = max((p for p in ALLOWED if within(module, p)), key=len)
    ours = {name for name in imported if name.split(".")[0] in (*PACKAGES, *TOP)}
    return {n for n in ours if not any(within(n, p) for p in (home, *ALLOWED[home]))}


def sources():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
            yield pytest.param(name.removesuffix(".__init__"), path, id=name)


@pytest.mark.parametrize(("module", "path"), list(sources()))
def test_imports_go_one_way(module, path):
    assert not forbidden(module, imports_of(path))


def test_only_ssd_imports_the_kernels():
    """By an import, or by a name that `importlib` is given."""

    def named(path: Path) -> set[str]:
        nodes = ast.walk(ast.parse(path.read_text()))
        return {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}

    files = sorted((ROOT / "mamtra").rglob("*.py"))
    users = [p.name for p in files if any(within(n, "mamba_ssm") for n in imports_of(p) | named(p))]
    assert users == ["ssd.py"]


def test_only_the_page_imports_gradio():
    users = [p.name for p in ROOT.glob("eval/**/*.py") if "gradio" in imports_of(p)]
    assert users == ["page.py"]


def test_nobody_shadows_the_builtin_eval():
    files = [p for package in PACKAGES for p in (ROOT / package).rglob("*.py")]
    files += sorted(ROOT.glob("*.py"))
    assert not [str(p) for p in files if p.exists() and "eval" in imports_of(p)]


@pytest.mark.parametrize(
    ("module", "imported", "wrong"),
    [
        ("mamtra.backbone.ssd", "mamtra.lm.speech_lm.SpeechLM", True),
        ("mamtra.lm.generate", "mamtra.backbone.state.DecodeState", False),
        ("mamtra.lm.generate", "mamtra.lm.sampling.draw", False),
        ("mamtra.tts", "mamtra.speech.base.SpeechCodec", False),
        ("data.batching", "eval.synthesis.synthesize.run", True),
        ("data.datamodule", "mamtra.lm.sequence.collate", False),
        ("data.datamodule", "mamtra.lm.speech_lm.SpeechLM", True),
        ("data.teacher_generated", "mamtra.lm.generate.generate_batch", False),
        ("data.teacher_generated", "lightning_modules.run_folder.sha256", True),
        ("lightning_modules.teacher", "data.datamodule.X", True),
        ("eval.metrics.text.wer", "mamtra.text.characters.ALPHABET", True),
        ("eval.synthesis.synthesize", "data.tokens.read", True),
        ("mamtra.text.characters", "torch.nn", False),
    ],
)
def test_the_rules(module, imported, wrong):
    assert bool(forbidden(module, {imported})) is wrong
