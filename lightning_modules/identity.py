"""Which settings make one run another: those that change what it makes. Others may change between its parts."""

from collections.abc import Mapping
from typing import Any

# How a run is watched, saved, divided over machines, and fitted into memory.
FREE_OF_TRAINER = {
    *("accelerator", "devices", "nodes", "strategy", "accumulate"),
    *("log_every", "checkpoint_every", "checkpoint_minutes", "keep", "nonfinite_limit"),
}
FREE = {"memory"}  # rounding alone
# May be raised (`running.longer`) where a task has both. The short students that layers are scored by have
# steps only: a score belongs to one length.
LENGTH = {"steps", "epochs"}


def result_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` of a task, nested as in its configuration, without those that leave its result alone.

    Devices, nodes and accumulation count as their product, the batches that a step sees. Validation
    decides about nothing where the last weights are exported.
    """
    free = FREE | (LENGTH if settings.keys() >= LENGTH else set())
    kept = {name: value for name, value in settings.items() if name not in free}
    trainer = kept.get("trainer")
    if isinstance(trainer, Mapping):
        own = {name: value for name, value in trainer.items() if name not in FREE_OF_TRAINER}
        if own.get("export") == "last":
            own.pop("val_every", None)
        own["batches_per_step"] = trainer["devices"] * trainer["nodes"] * trainer["accumulate"]
        kept["trainer"] = own
    return kept
