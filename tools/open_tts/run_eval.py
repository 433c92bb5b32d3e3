"""Stage 1 of Hugging Face's Open TTS Leaderboard for our models: wavs and a manifest in its form.

    python tools/open_tts/run_eval.py --model_id=me/mamtra-1to1 --model=runs/x/student \
        --system=models/CosyVoice2-0.5B --dataset_path=me/seed_tts_eval --split=en --device=cuda:0

Copy this folder into the leaderboard's repository as `mamtra/`, beside its other backends, and submit it by
`submit_jobs.sh`; or run it alone with `--input_jsonl`: one sample a line with id, text, prompt_text and
prompt_audio_filepath. It writes results/<model>/MODEL_<model>_DATASET_<dataset>.jsonl and a folder of wavs.
`time` is generation only, after `--warmup_steps` batches that are not timed. `--ttfa_probe N` measures the time
to the first audio of a stream instead, one sentence at a time, the first three left out.

Written after the leaderboard's README and published rows; no job of it was run with this.
"""

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import soundfile
import soxr
import torch

from mamtra.tts import Prompt, Synthesizer

DROPPED = 3  # first sentences of a probe
PERCENTILES = (50, 90, 95)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model_id", required=True, help="author/name of the leaderboard's row")
    parser.add_argument("--model", required=True, help="folder of an exported model")
    parser.add_argument(
        "--system", required=True, help="folder of the codec: assets/mini, CosyVoice2-0.5B"
    )
    parser.add_argument("--input_jsonl", help="samples of your own instead of a dataset")
    parser.add_argument("--dataset_path", help="private copy on the hub, such as me/seed_tts_eval")
    parser.add_argument("--dataset", default="tts", help="its configuration")
    parser.add_argument("--split", default="en")
    parser.add_argument("--voice_clone", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--warmup_steps", type=int, default=2)
    parser.add_argument("--max_eval_samples", type=int, default=-1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ttfa_probe", type=int, default=0, metavar="N")
    parser.add_argument("--out", default="results")
    asked = parser.parse_args(arguments)
    if not asked.voice_clone:
        parser.error("these models take their voice from a prompt: --voice_clone")
    if bool(asked.input_jsonl) == bool(asked.dataset_path):
        parser.error("give --input_jsonl or --dataset_path")
    return asked


def read_samples(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Samples with id, text, prompt_text and prompt_audio_filepath or prompt_audio.

    Raises ValueError, naming the sample, for an id that is no file name or comes twice, and for an empty text.
    """
    if asked.input_jsonl:
        source = Path(asked.input_jsonl)
        lines = source.read_text(encoding="utf-8").splitlines()
        samples = [json.loads(line) for line in lines if line.strip()]
        for number, sample in enumerate(samples):
            sample.setdefault("id", number)
            prompt = source.parent / sample["prompt_audio_filepath"]
            sample["prompt_audio_filepath"] = str(prompt)
    else:
        from datasets import Audio, load_dataset  # pyright: ignore[reportMissingImports]

        table = load_dataset(asked.dataset_path, asked.dataset, split=asked.split)
        samples = list(table.cast_column("prompt_audio", Audio(decode=False)))
    seen: set[str] = set()
    for sample in samples:
        name = str(sample["id"])
        if not name or name in seen or Path(name).name != name or name.startswith("."):
            raise ValueError(f"sample id {name!r} is no file name, or comes twice")
        if not str(sample.get("text") or "").strip():
            raise ValueError(f"sample {name} has no text")
        seen.add(name)
    return samples[: asked.max_eval_samples] if asked.max_eval_samples > 0 else samples


def prompt_wave(sample: dict[str, Any]) -> tuple[np.ndarray, int]:
    """The reference clip: (n,) float32 mono, and its rate in Hz."""
    held = sample.get("prompt_audio") or {}
    source = io.BytesIO(held["bytes"]) if held.get("bytes") else sample.get("prompt_audio_filepath")
    samples, rate_hz = soundfile.read(source or held["path"], dtype="float32", always_2d=True)
    return samples.mean(axis=1), rate_hz


def prompt_of(speaker: Synthesizer, sample: dict[str, Any]) -> Prompt:
    wave, rate_hz = prompt_wave(sample)
    wave = soxr.resample(wave, rate_hz, speaker.input_rate_hz)
    return speaker.prompt(sample.get("prompt_text") or None, torch.from_numpy(wave))


def batches(samples: list[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    yield from (samples[start : start + size] for start in range(0, len(samples), size))


def generate(
    asked: argparse.Namespace, speaker: Synthesizer, samples: list[dict[str, Any]]
) -> Path:
    """Wavs and manifest; returns the manifest."""
    model = asked.model_id.replace("/", "-")
    where = (asked.input_jsonl and Path(asked.input_jsonl).stem) or asked.dataset_path.replace(
        "/", "-"
    )
    data = where if asked.input_jsonl else f"{where}_{asked.dataset}_{asked.split}"
    folder = Path(asked.out) / model
    manifest = folder / f"MODEL_{model}_DATASET_{data}_voice_clone.jsonl"
    (folder / data).mkdir(parents=True, exist_ok=True)
    for part in list(batches(samples, asked.batch_size))[: asked.warmup_steps]:
        say(asked, speaker, part)
    partial = manifest.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as stream:
        for part in batches(samples, asked.batch_size):
            waves, seconds = say(asked, speaker, part)
            for sample, wave in zip(part, waves, strict=True):
                row = write(folder, data, sample, wave, speaker.sample_rate_hz, seconds / len(part))
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            print(f"{part[-1]['id']}: {seconds:.1f} s for {len(part)}", flush=True)
    os.replace(partial, manifest)
    return manifest


def say(
    asked: argparse.Namespace, speaker: Synthesizer, part: list[dict[str, Any]]
) -> tuple[list[np.ndarray], float]:
    """Waveforms (n,) of a batch and how long they took, prompts included."""
    started = time.perf_counter()
    prompts = [prompt_of(speaker, sample) for sample in part]
    seeds = [asked.seed + crc32(str(sample["id"]).encode()) for sample in part]
    spoken = speaker.speak_batch([sample["text"] for sample in part], prompts, seeds)
    return [one.wave.numpy() for one in spoken], time.perf_counter() - started


def write(
    folder: Path, data: str, sample: dict[str, Any], wave: np.ndarray, rate_hz: int, seconds: float
) -> dict[str, Any]:
    """One wav, its prompt, and their row of the manifest."""
    name, prompt = f"{data}/{sample['id']}.wav", f"{data}/prompt_{sample['id']}.wav"
    soundfile.write(folder / name, wave, rate_hz, subtype="PCM_16")
    soundfile.write(folder / prompt, *prompt_wave(sample), subtype="PCM_16")
    return {
        "audio_filepath": name,
        "prompt_audio_filepath": prompt,
        "duration": len(wave) / rate_hz,
        "time": seconds,
        "text": sample["text"],
        "pred_text": "",
    }


def probe(
    asked: argparse.Namespace, speaker: Synthesizer, samples: list[dict[str, Any]]
) -> dict[str, Any]:
    """Time to the first chunk of a stream, milliseconds, batch 1."""
    taken = []
    for sample in samples[: asked.ttfa_probe + DROPPED]:
        prompt = prompt_of(speaker, sample)
        started = time.perf_counter()
        next(speaker.stream(sample["text"], prompt, asked.seed))
        taken.append(1e3 * (time.perf_counter() - started))
    kept = taken[DROPPED:]
    if not kept:
        raise ValueError(f"--ttfa_probe needs more than {DROPPED} samples")
    return {
        "model_id": asked.model_id,
        "batch_size": 1,
        "device": asked.device,
        "n_samples": len(kept),
        **{f"p{p}": round(float(np.percentile(kept, p)), 2) for p in PERCENTILES},
    }


def main(arguments: Sequence[str]) -> None:
    asked = parse(arguments)
    samples = read_samples(asked)
    speaker = Synthesizer.load(asked.model, asked.system, device=asked.device)
    if asked.ttfa_probe:
        print(json.dumps(probe(asked, speaker, samples), indent=2))
        return
    print(f"-> {generate(asked, speaker, samples)}")


if __name__ == "__main__":
    main(sys.argv[1:])
