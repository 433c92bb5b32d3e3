"""Does cross-entropy rank the plans that speak? Of the open system's grid, over the seeds that all have."""

import pandas as pd
import pytest

from studies.documents.grid import open_values
from studies.documents.sources import Sources, Study
from studies.results import GridResults

WORDS = 10


class Grid(Sources):
    """A grid of made-up plans: (plan, seed, overrides, cross-entropy, word errors of two utterances)."""

    def __init__(self, root, rows):
        super().__init__(root)
        self.rows = rows

    def study(self, name, system="mini-grammar", more=()):
        assert (name, system, more) == ("grid_640", "open", ())
        cells, utterances = [], []
        for plan, seed, overrides, ce, errors in self.rows:
            work = f"{plan}-{seed}-{overrides}"
            cell = {"work": work, "plan": plan, "seed": seed, "overrides": overrides, "ce": ce}
            wer = sum(errors) / (2 * WORDS)
            cells.append(cell | {"ratio": "1to1", "status": "done", "wer_corpus": wer})
            for number, n in enumerate(errors):
                said = {"work": work, "utterance": f"u{number}", "voice": f"v{number}"}
                utterances.append(said | {"status": "ok", "errors": n, "reference_words": WORDS})
        frames = (pd.DataFrame(cells), pd.DataFrame(utterances), pd.DataFrame())
        return Study(GridResults(*frames, {}))


NUMBERS = range(1, 6)


@pytest.fixture
def rows():
    """Five plans of two seeds: cross-entropy ranks seed 0 as WER does, seed 1 the other way round, by less.
    A plan that does not speak, one of one seed, a twin of other data."""
    found = [(f"A{'M' * n}", 0, "", 3.0 + n, (n - 1, n)) for n in NUMBERS]
    found += [(f"A{'M' * n}", 1, "trainer=gpu", 3.5 - n / 10, (n - 1, n)) for n in NUMBERS]
    found += [("MA", seed, "", 9.0, (9, 9)) for seed in (0, 1)]
    return [*found, ("MMA", 0, "", 2.0, (4, 4)), ("AM", 0, "data=mixed", 1.0, (4, 4))]


def test_plans_that_have_all_seeds_and_speak_are_ranked(tmp_path, rows):
    grid = Grid(tmp_path, rows)
    assert open_values(grid, "seeds.plans") == "5"
    assert open_values(grid, "seeds.by_seed") == "1.00, -1.00"
    assert open_values(grid, "seeds.spearman").startswith("1.00 [")
    assert open_values(grid, "plans") == "7" and open_values(grid, "silent_wer") == "90"


def test_the_means_are_of_the_errors_of_all_seeds(tmp_path, rows):
    """Seed 1 alone has errors that differ, and they turn the order round."""
    turned = [
        (plan, seed, words, ce, (5 - errors[1], 5 - errors[0]) if seed else (1, 1))
        for plan, seed, words, ce, errors in rows[:10]
    ]
    assert open_values(Grid(tmp_path, turned), "seeds.spearman").startswith("-1.00 [")
