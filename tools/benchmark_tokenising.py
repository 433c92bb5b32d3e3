"""Speech tokens with and without batches, side by side: python -m tools.benchmark_tokenising

python -m tools.benchmark_tokenising [meta=assets/mini/meta.lst] [rounds=3] [batch_seconds=60] [out=<json>]

The S3 tokenizer at its real size with random weights (its speed does not depend on them) on the recordings
beside a test list. Both ways take turns in one process; the ratio is the median of the rounds' ratios.
"""

import json
import time
from pathlib import Path
from statistics import median

import torch

from data.arguments import parse_arguments
from data.tokenise_speech import batches, read
from eval.testset import read_meta, with_recording
from mamtra.speech.s3 import SAMPLE_RATE_HZ, S3Tokenizer


def main() -> None:
    """The command line in this file's docstring."""
    import s3tokenizer

    given = {"meta": "assets/mini/meta.lst", "rounds": "3", "batch_seconds": "60"}
    given |= parse_arguments(
        __doc__, required=(), optional=("meta", "rounds", "batch_seconds", "out")
    )
    paths = [item.recording for item in with_recording(read_meta(given["meta"]))]
    waves = [wave for path in paths if path for wave, _ in [read(path)] if wave is not None]
    seconds = [len(wave) / SAMPLE_RATE_HZ for wave in waves]
    tokenizer = S3Tokenizer(s3tokenizer.S3TokenizerV2("speech_tokenizer_v2_25hz"))
    ways = {
        "one by one": [[i] for i in range(len(waves))],
        "in batches": list(batches(seconds, float(given["batch_seconds"]))),
    }
    tokenizer.encode(waves[:1])  # warm up
    taken: dict[str, list[float]] = {name: [] for name in ways}
    codes: dict[str, dict[int, torch.Tensor]] = {name: {} for name in ways}
    for _ in range(int(given["rounds"])):
        for name, groups in ways.items():
            start = time.perf_counter()
            for group in groups:
                found = tokenizer.encode([waves[i] for i in group])
                codes[name] |= dict(zip(group, found, strict=True))
            taken[name].append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(*taken.values(), strict=True)]
    total = sum(len(row) for row in codes["one by one"].values())
    same = sum(int((codes["one by one"][i] == row).sum()) for i, row in codes["in batches"].items())
    result = {
        "recordings": len(waves),
        "audio_s": round(sum(seconds), 1),
        "audio_hours_per_hour": {n: round(sum(seconds) / median(t), 2) for n, t in taken.items()},
        "ratio": round(median(ratios), 2),
        "ratios": [round(r, 2) for r in ratios],
        "equal_tokens": f"{same} of {total}",
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result, indent=1))
    if "out" in given:
        Path(given["out"]).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
