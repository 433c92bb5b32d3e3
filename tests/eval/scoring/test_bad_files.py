"""Fifteen kinds of bad files, each alone and all together, leave every other row as it was."""

import numpy as np
import pytest
import soundfile

from tests.eval.scored_world import RATE_HZ, items, run, tone

FAULTS = {
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:20]),
    "no_bytes": lambda p: p.write_bytes(b""),
    "no_samples": lambda p: soundfile.write(p, np.zeros(0), RATE_HZ),
    "nan": lambda p: soundfile.write(p, np.full(1000, np.nan), RATE_HZ, subtype="FLOAT"),
    "infinite": lambda p: soundfile.write(p, np.full(1000, np.inf), RATE_HZ, subtype="FLOAT"),
    "zeros": lambda p: soundfile.write(p, np.zeros(1000), RATE_HZ),
    "stereo": lambda p: soundfile.write(p, np.stack([tone(200)] * 2, axis=1), RATE_HZ),
    "rate_8000": lambda p: soundfile.write(p, tone(200), 8000),
    "rate_22050": lambda p: soundfile.write(p, tone(200), 22050),
    "rate_24000": lambda p: soundfile.write(p, tone(200), 24000),
    "rate_48000": lambda p: soundfile.write(p, tone(200), 48000),
    "float": lambda p: soundfile.write(p, tone(200), RATE_HZ, subtype="DOUBLE"),
    "twenty_ms": lambda p: soundfile.write(p, tone(200, 0.02), RATE_HZ),
    "missing": lambda p: p.unlink(),
    "text": lambda p: p.write_text("this is no sound"),
}
STATUS_OF = {
    "truncated": "corrupt",
    "no_bytes": "corrupt",
    "no_samples": "empty",
    "nan": "nan",
    "infinite": "nan",
    "zeros": "silent",
    "missing": "missing",
    "text": "corrupt",
}


@pytest.fixture
def many(world):
    """An utterance per fault, each with a good wav, besides the three."""
    for name in FAULTS:
        soundfile.write(world / f"out/wavs/{name}.wav", tone(200), RATE_HZ)
    return items(world, [*"abc", *FAULTS])


@pytest.mark.parametrize("fault", [*FAULTS, "all"])
def test_fifteen_bad_files_alone_and_together(world, many, fault):
    good = {row["utterance"]: row for row in run(world, many)[0]}
    hit = set(FAULTS) if fault == "all" else {fault}
    for name in hit:
        FAULTS[name](world / f"out/wavs/{name}.wav")
    for row in run(world, many)[0]:
        name = row["utterance"]
        if name not in hit:
            assert row == good[name]
            continue
        assert row["status"] == STATUS_OF.get(name, "ok")
        if name in STATUS_OF:
            assert row["wer"] == 1.0 and row["mos"] is None and row["sim_prompt"] is None
        else:
            assert row["wer"] == 0.0 and row["mos"] is not None
