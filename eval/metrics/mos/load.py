"""Names of opinion models in a configuration -> the models, which load their weights at their first use."""

from __future__ import annotations

from eval.metrics.mos.distillmos import DistillMOS
from eval.metrics.mos.dnsmos import DNSMOS
from eval.metrics.mos.opinion import Opinion, OpinionModel
from eval.metrics.mos.utmos22 import UTMOS22
from eval.metrics.setup import Setup
from eval.metrics.weights import Unavailable

VALID = "distillmos, dnsmos, utmos22, utmos22:<folder>"


def load_mos(name: str, device: str) -> OpinionModel:
    """One of VALID. Raises Unavailable for another name."""
    tool, _, where = name.partition(":")
    if name == "distillmos":
        return DistillMOS(device)
    if name == "dnsmos":
        return DNSMOS()
    if tool == "utmos22" and name != "utmos22:":
        return UTMOS22(where or None, device)
    raise Unavailable(f"unknown MOS model {name!r}; valid: mos={VALID}, or null")


def opinion_scorer(setup: Setup) -> Opinion | None:
    """The opinion model that the settings ask for, None without one."""
    name = setup.settings.mos
    return Opinion(load_mos(name, setup.settings.device)) if name else None
