"""Which settings make one run another: those that change what it makes. Others may change between its parts."""

from collections.abc import Mapping
from typing import Any

# How a run is watched, saved, divided over machines, and fitted into memory.
FREE_OF_TRAINER = {
    *("accelerator", "devices", "nodes", "strategy", "accumulate", "global_tokens"),
    *("log_every", "checkpoint_every", "checkpoint_minutes", "keep", "nonfinite_limit", "spike"),
}
FREE = {"memory", "logger", "profiler"}  # rounding alone, and who watches
# Of Lightning's own arguments: how a run is watched and how fast it is.
FREE_ARGUMENTS = {
    *("benchmark", "detect_anomaly", "enable_progress_bar", "enable_model_summary"),
    *("enable_autolog_hparams", "inference_mode", "model_registry"),
}
# May be raised (`running.longer`) where a task has both. The short students that layers are scored by have
# steps only: a score belongs to one length.
LENGTH = {"steps", "epochs"}


def result_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` of a task, nested as in its configuration, without those that leave its result alone.

    Devices, nodes and accumulation count as their product, the batches that a step sees. Validation
    decides about nothing where the last weights are exported.
    """
    settings = _speech_of_before(settings)
    free = FREE | (LENGTH if settings.keys() >= LENGTH else set())
    kept = {name: value for name, value in settings.items() if name not in free}
    training = kept.get("training")
    if isinstance(training, Mapping) and training.get("freeze_tokenizer") is False:  # came later
        kept["training"] = {k: v for k, v in training.items() if k != "freeze_tokenizer"}
    objective = kept.get("objective")
    if isinstance(objective, Mapping) and not objective.get("more"):  # there was none before
        kept["objective"] = {name: value for name, value in objective.items() if name != "more"}
    trainer = kept.get("trainer")
    if isinstance(trainer, Mapping):
        own = {name: value for name, value in trainer.items() if name not in FREE_OF_TRAINER}
        if own.get("export") == "last":
            own.pop("val_every", None)
        arguments = own.pop("arguments", {})
        if changed := {n: v for n, v in arguments.items() if n not in FREE_ARGUMENTS}:
            own["arguments"] = changed
        own["batches_per_step"] = trainer["devices"] * trainer["nodes"] * trainer["accumulate"]
        kept["trainer"] = own
    return kept


def _speech_of_before(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of codec and vocoder runs as they were when these had a training loop of their own."""
    training = settings.get("training")
    if not isinstance(training, Mapping) or "precision" not in training:
        return settings
    moved = ("steps", "precision", "accelerator")
    trainer = {
        "precision": training["precision"],
        "devices": 1,
        "nodes": 1,
        "accumulate": 1,
        "grad_clip": 1.0,
        "export": "last",
        "export_dtype": "fp32",
    }
    kept = {name: value for name, value in training.items() if name not in moved}
    return {**settings, "steps": training["steps"], "training": kept, "trainer": trainer}
