"""Scores of the layers of teachers of the open system that were told to read in different ones.

Teacher B was trained twice: 2,300 steps, and 1,500 on another machine (b1500), where the first was gone.
"""

from __future__ import annotations

from eval.store.files import InputError
from studies.documents.sources import Sources, between, rate, stored_interval

FOLDER = "results/open/importance"
# teacher -> (what its files end in, its guided layers)
GUIDED = {
    "a": ("", range(3, 9)),
    "b": ("_teacher_b", range(9, 12)),
    "b1500": ("_teacher_b_1500", range(9, 12)),
}
PARTS = ("guided", "rest", "order")
TEACHER_B = "results/open/teacher_b/test.csv"
TEACHER_B_PARTS = {"wer": "wer_corpus", "guarded": "wer_guarded"}


def importance_values(sources: Sources, name: str) -> str:
    """`<mode>.<teacher>.<part>`: `guided` (ends of the scores of layers that were told to read), `rest`
    (highest of the others), `order` (layers from the highest score down, as many as were told). `b.wer`,
    `b.guarded`: of teacher B on the test list, in %. Raises InputError for another name."""
    head, _, part = name.rpartition(".")
    if head == "b" and part in TEACHER_B_PARTS:
        [row] = sources.csv(TEACHER_B)
        return rate(stored_interval(row, TEACHER_B_PARTS[part], int(row["n_voices"])), 1)
    mode, _, teacher = head.partition(".")
    if teacher not in GUIDED or part not in PARTS:
        raise InputError(
            f"no value open_importance.{name}: <mode>.<{' or '.join(GUIDED)}>.<{', '.join(PARTS)}>, b.wer, "
            "b.guarded"
        )
    ending, told = GUIDED[teacher]
    layers = sources.json(f"{FOLDER}/{mode}{ending}.json")["layers"]
    scores = [float(layer["score"]) for layer in layers]
    if part == "order":
        order = sorted(range(len(scores)), key=lambda i: -scores[i])[: len(told)]
        return ", ".join(map(str, order))
    inside = [scores[i] for i in told]
    if part == "guided":
        return between(inside, "{:.2f}")
    return f"{max(score for i, score in enumerate(scores) if i not in told):.2f}"
