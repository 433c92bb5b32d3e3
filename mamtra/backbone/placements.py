"""Placements by rule: where `count` of `n_layers` layers stay attention, one of every `period`.

A new one is a function here; its name is a value of `placement` from then on. MamTra, arXiv 2603.12342,
section on layer placement; the exact Middle and Sandwich splits are this project's reading.
"""

from collections.abc import Callable, Iterable

Rule = Callable[[int, int, int], Iterable[int]]
CLOSED_FORM: dict[str, Rule] = {}


def closed_form(rule: Rule) -> Rule:
    """Makes `rule(n_layers, count, period)`, which returns the layers, the placement of its name."""
    CLOSED_FORM[rule.__name__] = rule
    return rule


@closed_form
def blockbeg(n_layers: int, count: int, period: int) -> Iterable[int]:
    return range(0, n_layers, period)


@closed_form
def blockend(n_layers: int, count: int, period: int) -> Iterable[int]:
    return range(period - 1, n_layers, period)


@closed_form
def front(n_layers: int, count: int, period: int) -> Iterable[int]:
    return range(count)


@closed_form
def middle(n_layers: int, count: int, period: int) -> Iterable[int]:
    first = (n_layers - count) // 2
    return range(first, first + count)


@closed_form
def back(n_layers: int, count: int, period: int) -> Iterable[int]:
    return range(n_layers - count, n_layers)


@closed_form
def sandwich(n_layers: int, count: int, period: int) -> Iterable[int]:
    head = (count + 1) // 2  # an odd count puts the extra layer at the front
    return (*range(head), *range(n_layers - (count - head), n_layers))
