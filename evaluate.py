"""Synthesise, score, report, compare, board: `python evaluate.py model=...` (configs/evaluate.yaml)."""

import sys
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from eval.analysis.summary import coverage
from eval.efficiency import efficiency
from eval.over_results import OVER_RESULTS
from eval.pipeline import (
    STAGES,
    lines_of,
    report_systems,
    score_systems,
    synthesize_systems,
    write_manifest,
)
from eval.scoring.metric_models import load_scorers
from eval.store.files import InputError, sha256_bytes, sha256_file
from eval.synthesis.build import System, build_systems, name_systems, wav_system
from eval.testset import Item, one_item, parse_shard, read_meta
from mamtra.lm.checkpoint import CheckpointError


def models_of(s: dict[str, Any]) -> dict[str, str]:
    """Name -> folder of the models that the configuration names."""
    return name_systems(s["models"] or ([s["model"]] if s["model"] else []))


def systems_of(s: dict[str, Any], items: tuple[Item, ...], console: Console) -> list[System]:
    """The systems that the configuration names: models, or a folder of wavs."""
    out = Path(s["out"])
    if s["wavs"] is not None:
        name = str(s["name"] or Path(str(s["wavs"])).resolve().name)
        return [wav_system(name, Path(str(s["wavs"])), items, out, console)]
    options = {name: s[name] for name in ("seed_index", "device", "batch", "cross_lingual")}
    # Named only where it is not the default, so that it does not outdate what was synthesised before.
    options["sampling"] = s["system"]["sampling"] | ({} if s["split"] else {"split": False})
    return build_systems(
        models_of(s), items, out, codec_folder=Path(s["system"]["codec"]), **options
    )


def run(s: dict[str, Any], console: Console) -> int:
    """Run the asked stages; the exit code. Everything that can be checked without a model is checked first."""
    stage, out, text = s["stage"], Path(s["out"]), s["text"]
    if stage in OVER_RESULTS:
        OVER_RESULTS[stage](s, console)
        return 0
    if stage == "efficiency":
        efficiency(models_of(s), s, console)
        return 0
    if stage not in STAGES:
        valid = ", ".join((*STAGES, "efficiency", *OVER_RESULTS))
        raise InputError(f"unknown stage {stage!r}; valid: {valid}")
    if text is not None and s["prompt"] is None:
        raise InputError("text= needs prompt=<file>, and prompt_text= unless cross_lingual=true")
    meta, shard = Path(s["testset"]["meta"]), parse_shard(s["shard"])
    items = (
        read_meta(meta, s["limit"])
        if text is None
        else one_item(text, s["prompt"], s["prompt_text"])
    )
    if shard[1] > 1 and s["wavs"] is None and stage != "score":
        raise InputError(
            "shard= goes with wavs= or stage=score: synthesise first, then score in shards"
        )
    systems = systems_of(s, items, console)
    names = [system.name for system in systems]
    if s["baseline"] is not None and s["baseline"] not in names:
        raise InputError(f"baseline {s['baseline']!r} is not among: {', '.join(names)}")
    scorers = load_scorers(s, s["testset"]["language"])
    torch.set_num_threads(s["threads"])
    source = str(meta) if text is None else repr(text)
    console.print(f"{len(items)} items of {source}; results -> {out}", soft_wrap=True)
    if stage in ("all", "synthesize"):
        synthesize_systems(systems, len(items), console)
    test_set = sha256_file(meta) if text is None else sha256_bytes(text.encode())
    run_of = {"test_set": test_set, "seed_index": s["seed_index"]}
    if stage in ("all", "score"):
        tokens = s["testset"]["tokens"] and Path(s["testset"]["tokens"])
        options = {"tokens": tokens, "ce_limit": s["ce_limit"], "shard": shard, **run_of}
        score_systems(systems, scorers, console=console, **options)
    write_manifest(systems, scorers, out, config=s, device=s["device"], **run_of)
    if shard[1] > 1:
        console.print("after the last shard: the same command with stage=report and without shard=")
        return 0
    if stage == "synthesize":
        return 0
    if stage == "score":
        lines = lines_of(systems)
    else:
        facts = {"test set": source, "sentences": str(len(items))}
        options = {k: s[k] for k in ("title", "baseline", "n_examples")}
        lines = report_systems(systems, out, facts=facts, console=console, **options)
    return coverage(lines, s["allow_partial"], console)


@hydra.main(config_path="configs", config_name="evaluate", version_base="1.3")
def main(config: DictConfig) -> None:
    console = Console()
    try:
        code = run(OmegaConf.to_container(config, resolve=True), console)  # type: ignore[arg-type]
    except (InputError, CheckpointError) as error:
        console.print(f"[bold red]error[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("\nstopped; what is finished is kept, run the same command to go on")
        sys.exit(130)
    sys.exit(code)


if __name__ == "__main__":
    main()
