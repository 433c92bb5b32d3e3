"""Seconds of computing per second of speech of two systems, sentence by sentence in turns, on one machine.

python -m tools.bench_rtf first=<folder> second=<folder> out=<folder> [assets=assets/open] [sentences=10]
    [rounds=3]

Each is a language model or a MambaVoiceCloning model of the same text and codec. In every round each sentence
is said by one and then by the other, so that a slow minute meets both; one round before does not count. Writes
<out>/rtf.json and prints, of each, RTF without and with the vocoder (median of the rounds, lowest, highest),
and how many times the first takes what the second takes. Threads: OMP_NUM_THREADS.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from data.arguments import clear_errors, parse_arguments
from eval.store.files import write_json
from eval.store.manifest import device_description, git_state, package_versions
from eval.synthesis.build import Names, System, build_systems
from eval.testset import Item, read_meta


@dataclass(frozen=True)
class Round:
    """What one system took for all sentences of a round."""

    system: str
    turn: int
    text_to_frames_s: float
    vocoder_s: float
    speech_s: float

    @property
    def rtf(self) -> float:
        """Without the vocoder."""
        return self.text_to_frames_s / self.speech_s

    @property
    def rtf_with_vocoder(self) -> float:
        return (self.text_to_frames_s + self.vocoder_s) / self.speech_s


def one_round(systems: Sequence[System], items: Sequence[Item], turn: int) -> list[Round]:
    """Every sentence by each system in turn. Raises ValueError for one that cannot be said."""
    taken = {system.name: [0.0, 0.0, 0.0] for system in systems}
    for item in items:
        for system in systems:
            assert system.voicer is not None
            (said,) = system.voicer.say([item])
            if said.error or said.lm_s is None or said.vocode_s is None:
                raise ValueError(f"{system.name}: {item.utterance}: {said.error or 'no times'}")
            times = (said.lm_s, said.vocode_s, len(said.wave) / said.sample_rate_hz)
            taken[system.name] = [a + b for a, b in zip(taken[system.name], times, strict=True)]
    return [Round(name, turn, *sums) for name, sums in taken.items()]


def ratios(rounds: Sequence[Round], first: str, second: str) -> list[float]:
    """Of every round: how many times the first takes what the second takes, without vocoder."""
    by = {(one.turn, one.system): one.rtf for one in rounds}
    return [by[turn, first] / by[turn, second] for turn in sorted({one.turn for one in rounds})]


def spread(values: Sequence[float]) -> str:
    """ "0.120 (0.110 to 0.140)": median, lowest, highest."""
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def bench(
    first: Path, second: Path, out: Path, assets: Path, sentences: int, rounds: int
) -> list[Round]:
    """Raises ValueError for numbers below 1, and what is wrong with a model or the list by name."""
    if sentences < 1 or rounds < 1:
        raise ValueError("sentences and rounds have to be at least 1")
    items = read_meta(assets / "meta.lst", sentences)
    names = Names({"first": str(first), "second": str(second)}, {})
    options = {"codec_folder": assets, "seed_index": 0, "sampling": {}, "device": "cpu"}
    systems = build_systems(names, items, out, **options)  # type: ignore[arg-type]
    for system in systems:
        if system.voicer is None:
            raise ValueError(f"{system.name}: speech that was made elsewhere has no times")
        system.voicer.load()
    one_round(systems, items, -1)
    content = {
        "systems": names.models,
        "sentences": len(items),
        "threads": torch.get_num_threads(),
        "machine": device_description("cpu"),
        "git": git_state(),
        "packages": package_versions(),
    }
    found: list[Round] = []
    for n in track(range(rounds), "rounds"):
        found += one_round(systems, items, n)
        # What an interrupted run has measured is kept.
        write_json(out / "rtf.json", content | {"rounds": [asdict(one) for one in found]})
    table = Table(title=f"{len(items)} sentences, {torch.get_num_threads()} threads")
    for header in ("system", "RTF without vocoder", "RTF with vocoder"):
        table.add_column(header)
    for name, folder in names.models.items():
        own = [one for one in found if one.system == name]
        plain, whole = [one.rtf for one in own], [one.rtf_with_vocoder for one in own]
        table.add_row(f"{name}: {folder}", spread(plain), spread(whole))
    Console().print(table)
    times = ratios(found, *names.models)
    print(f"the first takes {spread(times)} times what the second takes, without vocoder")
    print(f"-> {out / 'rtf.json'}")
    return found


def main() -> None:
    """The command line in this file's docstring."""
    given = parse_arguments(__doc__, ("first", "second", "out"), ("assets", "sentences", "rounds"))
    try:
        sentences, rounds = int(given.get("sentences", "10")), int(given.get("rounds", "3"))
    except ValueError as error:
        sys.exit(f"error: {error}")
    with clear_errors():
        first, second, out = (Path(given[name]) for name in ("first", "second", "out"))
        bench(first, second, out, Path(given.get("assets", "assets/open")), sentences, rounds)


if __name__ == "__main__":
    main()
