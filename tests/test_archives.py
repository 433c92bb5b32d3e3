"""No code of ours unpacks an archive: nothing can leave its folder, follow a link or fill a disk.

Corpora and models are unpacked by their users (docs/paper_scale.md). What has the form of a zip file, weights
of torch and numpy, is read member by member by these libraries, without executing anything.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ("mamtra", "lightning_modules", "data", "eval", "studies", "settings", "tools")
UNPACKERS = {"tarfile", "zipfile", "webdataset", "py7zr", "rarfile", "shutil.unpack_archive"}
UNPACKERS |= {"torch.hub", "torchaudio.datasets", "torchdata", "patoolib", "gdown"}
READERS = {
    "lightning_modules/run_folder.py": "zipfile",  # reads checksums (`testzip`) and unpacks nothing
    # torch unpacks a release of SpeechMOS with Python's zipfile, which drops .. and leading / from names of
    # members and makes no links; mos=utmos22=<folder> downloads nothing.
    "eval/metrics/mos/utmos22.py": "torch.hub",
}
UNPACKING = {"extractall", "unpack_archive"}


def sources() -> list[Path]:
    return [*ROOT.glob("*.py"), *(p for folder in CODE for p in (ROOT / folder).rglob("*.py"))]


def unpacks(text: str) -> set[str]:
    """Names of unpackers that a source imports or calls."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            found |= {ast.unparse(node), node.attr}
    return found & (UNPACKERS | UNPACKING)


def test_no_code_unpacks_an_archive():
    found = {str(path.relative_to(ROOT)): unpacks(path.read_text()) for path in sources()}
    allowed = {place: {name} for place, name in READERS.items()}
    assert {place: names for place, names in found.items() if names} == allowed


def code_that_loads(text: str) -> list[str]:
    """Calls that execute what a file says: torch.load without weights_only=True, pickles, unsafe YAML."""
    wrong = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        options = {k.arg: ast.unparse(k.value) for k in node.keywords}
        torch_code = name == "torch.load" and options.get("weights_only") != "True"
        numpy_code = name == "np.load" and options.get("allow_pickle", "False") != "False"
        yaml_code = name in ("yaml.unsafe_load", "yaml.full_load")
        yaml_code |= name == "yaml.load" and options.get("Loader") != "yaml.BaseLoader"
        pickled = name in ("pickle.load", "pickle.loads", "joblib.load", "pd.read_pickle")
        if torch_code or numpy_code or yaml_code or pickled:
            wrong.append(ast.unparse(node))
    return wrong


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_that_is_read_is_executed(path):
    assert code_that_loads(path.read_text()) == []


@pytest.mark.parametrize(
    ("text", "unpacked", "executed"),
    [
        ("import tarfile\ntarfile.open(a).extractall(b)", {"tarfile", "extractall"}, 0),
        ("from shutil import unpack_archive", {"shutil.unpack_archive"}, 0),
        ("torch.load(p)", set(), 1),
        ("torch.load(p, weights_only=True)", set(), 0),
        ("np.load(p, allow_pickle=True); pickle.loads(x)", set(), 2),
    ],
)
def test_the_rules(text, unpacked, executed):
    assert unpacks(text) == unpacked and len(code_that_loads(text)) == executed
