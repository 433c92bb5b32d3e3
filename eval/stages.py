"""The stages of evaluate.py, one function each: they take typed settings and return the exit code.

<out>/evaluation.sqlite          rows and their recipes (`eval.store.database`)
<out>/<system>/wavs/             speech of the systems that are synthesised here
<out>/{leaderboard.csv, leaderboard.md, report.html, manifest.json}
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from eval.analysis.compare import compare
from eval.drift.stage import drift_stage
from eval.efficiency.advise import advise
from eval.efficiency.encoder_cost import encoder_cost
from eval.efficiency.settings import Advise, Efficiency, EncoderCost
from eval.efficiency.stage import efficiency
from eval.listening.page import write_test
from eval.listening.ratings import analyse
from eval.prompt import read_prompt
from eval.prosody.stage import prosody
from eval.report.board.board import write_board
from eval.report.evaluation import check_baseline, report
from eval.scoring.score import score
from eval.scoring.scorers import Scorers, load_scorers
from eval.settings import (
    All,
    Board,
    Common,
    Compare,
    Drift,
    Listening,
    Metrics,
    Named,
    Play,
    Prosody,
    Ratings,
    Report,
    Score,
    Synthesize,
    Systems,
    plain,
)
from eval.store.database import Store
from eval.store.files import InputError, sha256_bytes, sha256_file
from eval.store.manifest import check_device, run_facts
from eval.synthesis.build import Names, System, build_systems, name_systems
from eval.synthesis.cross_entropy import cross_entropy, read_held_out
from eval.synthesis.model_voicer import ModelVoicer
from eval.synthesis.synthesize import synthesize, why_not_ready
from eval.synthesis.systems import code_version
from eval.testset import Item, one_item, parse_shard, read_meta


def items_of(s: Systems) -> tuple[Item, ...]:
    """The utterances that the systems are asked for."""
    if s.text is None:
        words_only = isinstance(s, Metrics) and s.speaker is None and not names_of(s).models
        return read_meta(s.testset.meta, s.limit, need_prompts=not words_only)
    if s.prompt is None:
        raise InputError("text= needs prompt=<file>, and prompt_text= unless cross_lingual=true")
    items = one_item(s.text, s.prompt, s.prompt_text)
    read_prompt(s.prompt)
    return items


def test_set_of(s: Systems) -> str:
    """Hash of the list, or of the one sentence."""
    return sha256_file(s.testset.meta) if s.text is None else sha256_bytes(s.text.encode())


def names_of(s: Systems) -> Names:
    """The systems that the settings name."""
    return name_systems(one_of(s.model, s.models), s.wavs, s.name)


def one_of(model: str | None, models: Named) -> Named:
    """Whichever is given. Raises InputError for both."""
    if model and models:
        raise InputError("give model= or models=, not both")
    return models or model


def check_tokens(s: Score) -> None:
    """Raise InputError for held-out tokens that no cross-entropy can be measured on."""
    if s.testset.tokens is None or not names_of(s).models:
        return
    if len(read_held_out(s.testset.tokens, s.ce_limit)) < 2:
        raise InputError(f"ce_limit={s.ce_limit}: shuffling texts needs at least two utterances")


def systems_of(s: Systems, items: Sequence[Item], console: Console) -> list[System]:
    """Those systems with everything about them checked."""
    # Named only where it is not the default, so that a system without such an option takes it.
    sampling = s.system.sampling | ({} if s.split else {"split": False})
    return build_systems(
        names_of(s),
        items,
        s.out,
        codec_folder=s.system.codec,
        seed_index=s.seed_index,
        sampling=sampling,
        device=s.only_device,
        batch=s.batch,
        cross_lingual=s.cross_lingual,
        dtype=s.system.dtype,
        compiled=s.system.compiled,
        console=console,
    )


@dataclass(frozen=True)
class Evaluation:
    """One evaluation at work: its systems and items, checked, and its store."""

    s: Systems
    items: tuple[Item, ...]
    systems: list[System]
    store: Store
    console: Console

    @classmethod
    def open(cls, s: Systems, console: Console) -> Evaluation:
        """Check everything that can be checked without a model. Raises InputError."""
        check_device(s.only_device)
        items = items_of(s)
        parse_shard(s.shard)
        systems = systems_of(s, items, console)
        torch.set_num_threads(s.threads)
        source = str(s.testset.meta) if s.text is None else repr(s.text)
        message = f"{len(items)} items of {source}; results -> {s.out}"
        console.print(message, markup=False, soft_wrap=True)
        store = Store(s.out)
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        store.begin_run(run_facts(s.stage, plain(s), s.only_device), now)
        return cls(s, items, systems, store, console)

    def synthesize(self) -> None:
        """Wavs of every system that is synthesised here."""
        for system in self.systems:
            if len(system.items) < len(self.items):
                self.console.print(
                    f"{system.name}: {len(self.items) - len(system.items)} of {len(self.items)} items "
                    "have no original recording and are not asked of this system",
                    markup=False,
                )
            if system.voicer is not None:
                place = {"name": system.name, "console": self.console}
                shard = parse_shard(self.s.shard)
                synthesize(system.items, system.voicer, self.store, shard=shard, **place)

    def score(self, m: Metrics, scorers: Scorers) -> None:
        """Rows of every system; cross-entropy of the models where there are held-out tokens.

        Raises:
            InputError: speech that the present settings did not make, with what differs.
        """
        tokens = self.s.testset.tokens
        shard = parse_shard(self.s.shard)
        for system in self.systems:
            mine = system.items[shard[0] :: shard[1]]
            if system.voicer is not None:
                reason = why_not_ready(self.store, system.name, system.voicer, mine)
                if reason:
                    raise InputError(
                        f"{self.s.out}: {system.name} is not ready: {reason}; run stage=synthesize "
                        "with these settings, or score with those that made it"
                    )
            self.store.put_system(system.name, system.recipe(), system.card())
            score(
                system.items,
                system.wavs,
                self.store,
                scorers,
                name=system.name,
                speech_recipe=system.recipe(),
                test_set=test_set_of(self.s),
                seed=self.s.seed_index,
                console=self.console,
                shard=shard,
            )
            if tokens and isinstance(system.voicer, ModelVoicer) and shard[0] == 0:
                self._cross_entropy(system, system.voicer, tokens, m.ce_limit)

    def _cross_entropy(
        self, system: System, voicer: ModelVoicer, tokens: Path, limit: int | None
    ) -> None:
        recipe = {"tokens_sha256": sha256_file(tokens), "limit": limit, "code": code_version()}
        known = self.store.cross_entropy(voicer.model_sha256)
        if known and known[0] == recipe:
            return
        rows, speaker = read_held_out(tokens, limit), voicer.synthesizer
        result = cross_entropy(
            speaker.lm, rows, name=system.name, console=self.console, tokenizer=speaker.tokenizer
        )
        self.store.put_cross_entropy(voicer.model_sha256, recipe, asdict(result))


def run_synthesize(s: Synthesize, console: Console) -> int:
    """Exit code 0: what could not be said is a row with its error, and counts when it is scored."""
    Evaluation.open(s, console).synthesize()
    return 0


def run_score(s: Score, console: Console) -> int:
    scorers = load_scorers(s, s.testset.language, s.only_device)
    check_tokens(s)
    evaluation = Evaluation.open(s, console)
    evaluation.score(s, scorers)
    console.print(f"next: python evaluate.py stage=report out={s.out}", markup=False)
    return 0


def run_all(s: All, console: Console) -> int:
    scorers = load_scorers(s, s.testset.language, s.only_device)  # a wrong name shows before work
    check_tokens(s)
    check_baseline(s.baseline, [*names_of(s).models, *names_of(s).wavs])
    evaluation = Evaluation.open(s, console)
    evaluation.synthesize()
    evaluation.score(s, scorers)
    if parse_shard(s.shard)[1] > 1:
        console.print(
            f"after the last shard: python evaluate.py stage=report out={s.out}", markup=False
        )
        return 0
    return report(s, [system.name for system in evaluation.systems], console)


def run_report_after(s: Systems, console: Console) -> int:
    """What is left to do once every shard of a command has ended."""
    names = names_of(s)
    return report(s, [*names.models, *names.wavs], console) if isinstance(s, All) else 0


def run_report(s: Report, console: Console) -> int:
    return report(s, s.systems, console)


def run_compare(s: Compare, console: Console) -> int:
    compare(s.results, s.baseline, console, margin=s.margin)
    return 0


def run_board(s: Board, console: Console) -> int:
    options = {name: getattr(s, name) for name in ("title", "baseline", "n_worst", "audio")}
    write_board(s.results, s.out, console, **options)
    return 0


def run_listening(s: Listening, console: Console) -> int:
    options = {name: getattr(s, name) for name in ("kind", "baseline", "n_items", "seed", "title")}
    write_test(s.results, s.out, console, **options)
    return 0


def run_ratings(s: Ratings, console: Console) -> int:
    analyse(s.ratings, s.key or s.ratings / "key.json", console)
    return 0


def run_efficiency(s: Efficiency, console: Console) -> int:
    efficiency(name_systems(one_of(s.model, s.models)).models, s, console)
    return 0


def run_play(s: Play, console: Console) -> int:
    from eval.play.stage import play  # its page needs the [play] extra

    play(one_of(s.model, s.models), s, console)
    return 0


# stage: (its settings, what it does)
STAGES: dict[str, tuple[type[Common], Callable[[Any, Console], int]]] = {
    "all": (All, run_all),
    "synthesize": (Synthesize, run_synthesize),
    "score": (Score, run_score),
    "report": (Report, run_report),
    "compare": (Compare, run_compare),
    "board": (Board, run_board),
    "listening": (Listening, run_listening),
    "ratings": (Ratings, run_ratings),
    "efficiency": (Efficiency, run_efficiency),
    "advise": (Advise, advise),
    "play": (Play, run_play),
    "prosody": (Prosody, prosody),
    "drift": (Drift, drift_stage),
    "encoder_cost": (EncoderCost, encoder_cost),
}
