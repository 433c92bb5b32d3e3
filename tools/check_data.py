"""Whether the folders of the paper's experiment are whole: python -m tools.check_data (`make check-data`)

python -m tools.check_data [cosyvoice2=<folder>] [libritts=<folder>] [seedtts=<folder>] [lists=<folder>]

Places come from configs/paths/cosyvoice2.yaml; give one to check another. Prints one line per part, with what
is wrong and where to get it, and exits with 1 when a part is missing or damaged.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data.arguments import parse_arguments
from data.libritts import SOURCE, scan
from eval.testset import read_meta
from mamtra.speech.cosyvoice2 import FLOW, SPEAKER, VOCODER, check_folder
from mamtra.speech.s3 import ONNX_FILE, TORCH_FILE
from mamtra.text.qwen import QwenTokenizer
from mamtra.transfer.cosyvoice2 import LLM_FILE, N_PARAMETERS, read_llm_pt

PATHS = Path(__file__).parents[1] / "configs/paths/cosyvoice2.yaml"
PLACES = ("cosyvoice2", "libritts", "seedtts", "lists")
MODEL_SOURCE = "huggingface.co/FunAudioLLM/CosyVoice2-0.5B, or iic/CosyVoice2-0.5B on modelscope.cn"
SEEDTTS_SOURCE = "the link in github.com/BytedanceSpeech/seed-tts-eval, unpacked"
# Recordings of each subset (Zen et al. 2019, and as unpacked from openslr 60).
LIBRITTS = {
    "train-clean-100": 33_236,
    "train-clean-360": 116_500,
    "train-other-500": 205_044,
    "dev-clean": 5_736,
    "test-clean": 4_837,
}
SPEECH_FILES = (FLOW, VOCODER, SPEAKER)
SMALLEST_BYTES = 20_000  # below the smallest of the weight files, random ones included
SEEDTTS = {"en/meta.lst": 1_088, "zh/meta.lst": 2_020, "zh/hardcase.lst": 400}


@dataclass(frozen=True)
class Check:
    """One part: what it is, what was found, and what to do when that is not enough."""

    part: str
    found: str
    remedy: str = ""  # empty: the part is whole


def checked(part: str, look: Callable[[], str], remedy: str) -> Check:
    """What `look` found, or its error with the remedy."""
    try:
        return Check(part, look())
    except (OSError, ValueError, ModuleNotFoundError) as error:
        return Check(part, str(error), remedy)
    except Exception as error:  # every package has its own for a damaged file
        return Check(part, f"{type(error).__name__}: {error}", remedy)


def large(path: Path) -> str:
    """The file's name and size. Raises ValueError for one far too small to hold weights."""
    size = path.stat().st_size
    if size < SMALLEST_BYTES:
        raise ValueError(f"{path} has {size} bytes: a git-lfs pointer or a broken download")
    return f"{path.name} ({size / 1e6:.0f} MB)"


def check_model(folder: Path) -> Iterator[Check]:
    """The parts of a CosyVoice2-0.5B folder. Reads llm.pt whole: that takes memory for its 2 GB."""
    source = f"get the folder from {MODEL_SOURCE}"

    def llm() -> str:
        n = sum(p.numel() for p in read_llm_pt(folder / LLM_FILE).parameters())
        if n != N_PARAMETERS:
            raise ValueError(f"{folder / LLM_FILE}: {n:,} parameters, not {N_PARAMETERS:,}")
        return f"{n:,} parameters"

    def speech() -> str:
        check_folder(folder)
        return ", ".join(large(folder / name) for name in SPEECH_FILES)

    def tokenizer() -> str:
        found = [folder / name for name in (ONNX_FILE, TORCH_FILE) if (folder / name).is_file()]
        if not found:
            raise FileNotFoundError(f"{folder / ONNX_FILE} is missing")
        return large(found[0])

    def text() -> str:
        return (
            f"{len(QwenTokenizer(folder).encode('The garden was quiet.'))} tokens for a test text"
        )

    yield checked("language model", llm, source)
    yield checked("flow, vocoder, speaker encoder", speech, source)
    yield checked("speech tokenizer", tokenizer, source)
    yield checked("text tokenizer", text, source)


def check_libritts(root: Path) -> Iterator[Check]:
    """Each subset's recordings are counted, and each has its text."""
    for subset, expected in LIBRITTS.items():

        def look(subset: str = subset, expected: int = expected) -> str:
            found = scan(root, [subset])
            silent = [u.name for u in found if u.text is None]
            if len(found) < expected or silent:
                lacking = f"; no text for {len(silent)}, the first {silent[0]}" if silent else ""
                raise ValueError(f"{len(found):,} of {expected:,} recordings{lacking}")
            return f"{len(found):,} recordings"

        yield checked(f"LibriTTS {subset}", look, f"unpack {subset}.tar.gz from {SOURCE}")


def check_seedtts(root: Path) -> Iterator[Check]:
    """Each list is read as evaluation reads it, its prompts too."""
    for name, expected in SEEDTTS.items():

        def look(name: str = name, expected: int = expected) -> str:
            items = read_meta(root / name)
            if len(items) != expected:
                raise ValueError(f"{root / name}: {len(items):,} of {expected:,} lines")
            return f"{len(items):,} lines, their prompts are readable"

        yield checked(f"Seed-TTS-eval {name}", look, SEEDTTS_SOURCE)


def check_lists(root: Path) -> Iterator[Check]:
    """The lists of `data.test_lists` against the hash they were built with."""
    for kind in ("zero_shot", "length_stress"):
        path = root / kind / "meta.lst"

        def look(path: Path = path) -> str:
            described = json.loads((path.parent / "list.json").read_text())
            if hashlib.sha256(path.read_bytes()).hexdigest() != described["sha256"]:
                raise ValueError(f"{path} is not what data.test_lists wrote: it has been changed")
            return f"{len(read_meta(path)):,} lines, sha256 {described['sha256'][:12]}"

        command = f"python -m data.test_lists root=<LibriTTS> kind={kind} out={path.parent}"
        yield checked(f"LibriTTS list {kind}", look, command)


CHECKS = dict(zip(PLACES, (check_model, check_libritts, check_seedtts, check_lists), strict=True))


def main() -> None:
    """The command line in this file's docstring."""
    given = parse_arguments(__doc__, required=(), optional=PLACES)
    own, shared = OmegaConf.load(PATHS), OmegaConf.load(PATHS.with_name("local.yaml"))
    paths = OmegaConf.create({"paths": OmegaConf.merge(shared, own)}).paths
    checks = [
        check
        for place, look in CHECKS.items()
        if not given or place in given
        for check in look(Path(given.get(place) or paths[place]))
    ]
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for header in ("part", "", "found"):
        table.add_column(header, overflow="fold")
    for check in checks:
        mark = "[red]missing[/]" if check.remedy else "[green]ok[/]"
        found = check.found + (f"\n-> {check.remedy}" if check.remedy else "")
        table.add_row(check.part, mark, escape(found))
    Console(soft_wrap=False, highlight=False).print(table)
    sys.exit(1 if any(check.remedy for check in checks) else 0)


if __name__ == "__main__":
    main()
