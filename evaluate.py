"""Synthesise, score, report: `python evaluate.py model=runs/x/student` (configs/evaluate.yaml)."""

import sys
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from eval.files import InputError, sha256_bytes, sha256_file
from eval.metrics.asr import WhisperASR
from eval.metrics.mos import DistillMOS
from eval.metrics.speaker import GE2ESpeaker
from eval.pipeline import (
    STAGES,
    build_systems,
    name_systems,
    report_systems,
    score_systems,
    synthesize_systems,
    write_manifest,
)
from eval.score import Cache, Scorers
from eval.testset import one_item, read_meta
from mamtra.lm.checkpoint import CheckpointError


def run(config: dict[str, Any], console: Console) -> None:
    """Run the asked stages. Everything that can be checked without a model is checked first."""
    stage, out, meta = config["stage"], Path(config["out"]), Path(config["testset"]["meta"])
    text, prompt = config["text"], config["prompt"]
    if stage not in STAGES:
        raise InputError(f"unknown stage {stage!r}; valid: {', '.join(STAGES)}")
    given = config["models"] or ([config["model"]] if config["model"] else [])
    models = name_systems(given)
    if text is not None and prompt is None:
        raise InputError(
            "text= needs prompt=<sound file>, and prompt_text= unless cross_lingual=true"
        )
    items = (
        read_meta(meta, config["limit"])
        if text is None
        else one_item(text, prompt, config["prompt_text"])
    )
    systems = build_systems(
        models,
        items,
        out,
        codec_folder=Path(config["system"]["codec"]),
        seed_index=config["seed_index"],
        sampling=config["system"]["sampling"] | {"split": config["split"]},
        device=config["device"],
        batch=config["batch"],
        cross_lingual=config["cross_lingual"],
    )
    if config["baseline"] is not None and config["baseline"] not in models:
        raise InputError(f"baseline {config['baseline']!r} is not among: {', '.join(models)}")
    asr = WhisperASR(config["asr"], cpu_threads=config["threads"])
    mos = DistillMOS() if config["mos"] else None
    scorers = Scorers(asr, GE2ESpeaker(), mos, Cache(Path(config["cache"])))
    torch.set_num_threads(config["threads"])
    source = meta if text is None else repr(text)
    console.print(f"{len(items)} items of {source}; results -> {out}", soft_wrap=True)
    if stage in ("all", "synthesize"):
        synthesize_systems(systems, len(items), console)
    if stage in ("all", "score"):
        tokens = config["testset"]["tokens"] and Path(config["testset"]["tokens"])
        score_systems(systems, scorers, tokens=tokens, ce_limit=config["ce_limit"], console=console)
    items_sha256 = sha256_file(meta) if text is None else sha256_bytes(text.encode())
    where = {
        "items_sha256": items_sha256,
        "seed_index": config["seed_index"],
        "device": config["device"],
    }
    write_manifest(systems, scorers, out, config=config, **where)
    if stage in ("all", "report"):
        facts = {
            "test set": str(source),
            "sentences": str(len(items)),
            "ASR": f"Whisper {asr.size}",
        }
        report_options = {k: config[k] for k in ("title", "baseline", "n_examples")}
        report_systems(systems, out, facts=facts, console=console, **report_options)


@hydra.main(config_path="configs", config_name="evaluate", version_base="1.3")
def main(config: DictConfig) -> None:
    console = Console()
    try:
        run(OmegaConf.to_container(config, resolve=True), console)  # type: ignore[arg-type]
    except (InputError, CheckpointError) as error:
        console.print(f"[bold red]error[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("\nstopped; what is finished is kept, run the same command to go on")
        sys.exit(130)


if __name__ == "__main__":
    main()
