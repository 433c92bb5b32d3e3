"""Finished evaluations: every system that evaluate.py has scored, whoever made its speech.

All that is known of a system comes from its rows and the recipes that they were written with. A system whose
rows do not belong together is not ready, and the reason is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eval.store.database import FILE, OLD_FILES, Store, StoredScore, differing
from eval.store.files import InputError, sha256_json
from eval.store.grid_layout import cell_names

Row = dict[str, Any]
WER = "wer"  # the metric that decides who may be ranked with whom


@dataclass(frozen=True)
class Evaluated:
    """One system of one evaluation, with its seed index.

    recipes: metric -> everything that its values depend on besides audio and text. speech: the recipe of
    the wavs. card: what the tables say of the system, and its cross-entropy where that was measured.
    """

    name: str
    seed: int
    folder: Path
    card: Mapping[str, Any]
    recipes: Mapping[str, Mapping[str, Any]]
    speech: Mapping[str, Any]
    test_set: str  # sha256 of the list
    rows: tuple[Row, ...]
    runs: tuple[Row, ...] = field(default=(), repr=False)  # the commands that wrote the rows

    @property
    def label(self) -> str:
        """Its name, with the seed index where that is not the first."""
        return self.name if not self.seed else f"{self.name}/{self.seed}"

    @property
    def wavs(self) -> Path:
        """Where its speech lies."""
        return Path(self.card["source"]) if self.card["kind"] == "wavs" else self.folder / "wavs"

    @property
    def rules(self) -> tuple[str, str, int]:
        """Systems of equal rules may be ranked by WER: test set, recipe of WER, number of utterances."""
        return self.test_set, sha256_json(self.recipes[WER]), len(self.rows)

    @property
    def utterances(self) -> list[str]:
        """Names of the expected utterances, in list order."""
        return [row["utterance"] for row in self.rows]


def read_evaluation(folder: Path, names: Sequence[str] | None = None) -> list[Evaluated]:
    """The scored systems of the evaluation in `folder`; those called `names`, in that order, where given.

    Raises:
        InputError: no evaluation there, no such system, or one that is not ready, with the reason.
    """
    found = _scored(folder, names)
    if not found:
        raise InputError(f"{folder}: nothing scored yet; run stage=score first")
    return found


def _scored(folder: Path, names: Sequence[str] | None = None) -> list[Evaluated]:
    """As `read_evaluation`; [] where nothing is scored yet."""
    store = Store(folder, create=False)
    try:
        scored = store.scored_systems()
        for name in names or ():
            if name not in scored:
                known = ", ".join(scored) or "none"
                raise InputError(
                    f"{folder}: {name!r} is not scored yet (scored: {known}); run stage=score first"
                )
        return [_evaluated(store, name) for name in names or scored]
    finally:
        store.close()


def find_evaluations(results: Path) -> list[Evaluated]:
    """Every scored system below `results`, by name and seed; those of a grid's works by their cells.

    A store that has no scores, as stage=synthesize leaves one, is no evaluation yet.

    Raises:
        InputError: nothing there, an evaluation that is not ready, results of an older version, or two
            systems of one name, seed, test set and recipe.
    """
    for old in (path for name in OLD_FILES for path in results.rglob(name)):
        if not (old.parents[1] / FILE).is_file():
            raise InputError(
                f"{old.parents[1]} holds results of an older version: "
                f"python -m eval.store.migrate results={old.parents[1]}"
            )
    found: dict[tuple, Evaluated] = {}
    for path in sorted(results.rglob(FILE)):
        for one in _named(_scored(path.parent), path.parent):
            key = (one.name, one.seed, *one.rules)
            if key in found:
                raise InputError(
                    f"{found[key].folder} and {one.folder} are both called {one.name!r} with seed "
                    f"{one.seed}: name one of them otherwise (models={{name: folder}} or name=)"
                )
            found[key] = one
    if not found:
        raise InputError(f"{results} holds no scores: run evaluate.py with out= below it first")
    return [found[key] for key in sorted(found)]


def _named(systems: Sequence[Evaluated], evaluation: Path) -> list[Evaluated]:
    """The systems of an evaluation; the one of a grid's work once for every cell that it is the work of."""
    names = cell_names(evaluation)
    if not names:
        return list(systems)
    return [replace(one, name=name) for one in systems for name in names]


def check_comparable(systems: Iterable[Evaluated], metric: str = WER) -> None:
    """Raise InputError, naming what differs first, unless all have one test set and one recipe of `metric`."""
    first, *others = systems
    for other in others:
        check_list(first, other)
        if other.utterances != first.utterances:
            raise InputError(
                f"{first.folder} and {other.folder} were asked for different utterances of a test set "
                f"({len(first.rows)} and {len(other.rows)}): they cannot be compared"
            )
        check_recipe(first, other, metric)


def check_list(first: Evaluated, other: Evaluated) -> None:
    """Raise InputError unless both were asked for utterances of one list."""
    if other.test_set != first.test_set:
        raise InputError(
            f"{first.folder} and {other.folder} were scored on different test sets "
            f"({len(first.rows)} and {len(other.rows)} utterances): they cannot be compared"
        )


def check_recipe(first: Evaluated, other: Evaluated, metric: str) -> None:
    """Raise InputError, naming what differs, unless both have one recipe of `metric`."""
    ours, theirs = first.recipes.get(metric), other.recipes.get(metric)
    if ours != theirs:
        raise InputError(
            f"{first.folder} and {other.folder} were scored by different recipes of {metric} "
            f"({differing(ours or {}, theirs or {})}): score them with the same options; "
            "transcripts are cached"
        )


def _evaluated(store: Store, name: str) -> Evaluated:
    scores = store.scores(name)
    _check_ready(store, name, scores)
    one = scores[0]
    speech = store.recipe(one.speech_recipe)
    return Evaluated(
        name=name,
        seed=one.seed,
        folder=store.folder / name,
        card=_with_cross_entropy(store, store.card(name, one.speech_recipe), speech),
        recipes={metric: store.recipe(key) for metric, key in one.metric_recipes.items()},
        speech=speech,
        test_set=one.test_set,
        rows=tuple(score.row for score in scores),
        runs=tuple(store.runs_of_scores()),
    )


def _with_cross_entropy(store: Store, card: Row, speech: Mapping[str, Any]) -> Row:
    """Only of the very model whose speech was scored."""
    model = speech.get("model_sha256")
    known = store.cross_entropy(model) if model else None
    if known is None:
        return card
    recipe, found = known
    values = {"ce": found["nats_per_token"], "ce_shuffled": found["shuffled_nats_per_token"]}
    return card | values | {"ce_recipe": recipe}


def _check_ready(store: Store, name: str, scores: Sequence[StoredScore]) -> None:
    """Raise InputError unless the rows of a system were all made in one way and none is missing."""
    where = f"{store.folder}: {name} is not ready"
    first = scores[0]
    for kind, of in (("speech", lambda s: s.speech_recipe), ("metrics", _metrics)):
        counts = Counter(of(score) for score in scores)
        if len(counts) > 1:
            (one, n_one), (other, n_other) = counts.most_common(2)
            raise InputError(
                f"{where}: {n_one} rows were made by one recipe of its {kind} and {n_other} by another "
                f"({_why(store, one, other)}); run stage=score to the end"
            )
    if len(scores) != first.expected:
        raise InputError(
            f"{where}: {len(scores)} of {first.expected} utterances are scored; run stage=score to "
            "the end (every shard of it)"
        )
    if store.recipe(first.speech_recipe).get("kind") == "wavs":
        return  # made elsewhere: what was synthesised here under that name is another system's
    heard = {score.row["utterance"]: score.row["wav_sha256"] for score in scores}
    for utterance, (recipe, row) in store.speech(name).items():
        now = (recipe, row["sha256"])
        if utterance in heard and now != (first.speech_recipe, heard[utterance]):
            raise InputError(
                f"{where}: {utterance} was synthesised again after it was scored "
                f"({_why(store, first.speech_recipe, recipe) or 'its wav changed'}); run stage=score"
            )


def _metrics(score: StoredScore) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(score.metric_recipes.items()))


def _why(store: Store, first: Any, second: Any) -> str:
    """In which keys two recipes, or two sets of metric recipes, differ."""
    if isinstance(first, str):
        return differing(store.recipe(first), store.recipe(second))
    ours, theirs = dict(first), dict(second)
    parts = []
    for metric in {**ours, **theirs}:
        if ours.get(metric) == theirs.get(metric):
            continue
        if metric in ours and metric in theirs:
            gap = differing(store.recipe(ours[metric]), store.recipe(theirs[metric]))
            parts.append(f"{metric}: {gap}")
        else:
            parts.append(f"{metric}: only in some")
    return "; ".join(parts)
