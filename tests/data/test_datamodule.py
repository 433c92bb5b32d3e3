import random
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from data.datamodule import TokenDataModule
from mamtra.lm.sequence import IGNORE, KIND_SPEECH, KIND_TEXT
from mamtra.text.characters import CharacterTokenizer

CODES, MAX_TOKENS = 50, 300
TOKENIZER = CharacterTokenizer()


@pytest.fixture
def rows():
    rng = random.Random(2)
    return [
        {
            "utterance": f"u{i}",
            "split": "valid" if i % 5 == 0 else "train",
            "text": "".join(rng.choice("abcde ") for _ in range(rng.randint(5, 15))) + "a",
            "voice": f"v{i % 3}",
            "tokens": [rng.randrange(CODES) for _ in range(rng.randint(10, 30))],
        }
        for i in range(60)
    ]


@pytest.fixture
def module(rows, tmp_path):
    pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    return TokenDataModule(tmp_path / "t.parquet", TOKENIZER, CODES, MAX_TOKENS, 0.85, seed=0)


def epoch(module):
    loader = module.train_dataloader()
    batches = iter(loader)
    return [next(batches) for _ in loader.batch_sampler.epoch_batches(0)]


def test_an_epoch_holds_every_training_utterance_once_within_the_budget(module, rows):
    batches = epoch(module)
    names = [name for batch in batches for row in batch.utterances for name in row.split("+")]
    assert sorted(names) == sorted(r["utterance"] for r in rows if r["split"] == "train")
    assert all(batch.ids.numel() <= MAX_TOKENS for batch in batches)
    assert any(not batch.mask.all() for batch in batches), "some batch has padding"


def test_a_pair_joins_texts_then_speech_of_one_voice(module, rows):
    by_name = {row["utterance"]: row for row in rows}
    pairs = 0
    for batch in epoch(module):
        for i, joined in enumerate(batch.utterances):
            members = [by_name[name] for name in joined.split("+")]
            pairs += len(members) == 2
            assert len({member["voice"] for member in members}) == 1
            text = batch.ids[i][batch.kinds[i] == KIND_TEXT]
            speech = batch.ids[i][batch.kinds[i] == KIND_SPEECH]
            assert text.tolist() == [t for m in members for t in TOKENIZER.encode(m["text"])]
            assert speech.tolist() == [t for m in members for t in m["tokens"]]
            targets = batch.targets[i][batch.targets[i] != IGNORE]
            assert targets.tolist() == [*speech.tolist(), CODES]  # and the end of speech
            spoken = members[-1]["tokens"]  # after the prompt, where there is one
            assert batch.ids[i][batch.generated[i]].tolist() == list(spoken)
    assert pairs


def test_validation_is_the_same_every_time_and_complete(module, rows):
    first, second = list(module.val_dataloader()), list(module.val_dataloader())
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(first, second, strict=True))
    names = [name for batch in first for row in batch.utterances for name in row.split("+")]
    assert sorted(names) == sorted(r["utterance"] for r in rows if r["split"] == "valid")


def test_the_calibration_batch_is_the_start_of_training(module):
    batch, first = module.calibration_batch(rows=2), next(iter(module.train_dataloader()))
    assert batch.utterances == first.utterances[:2]


def test_a_too_long_validation_utterance_stops_the_run_at_once(rows, tmp_path):
    rows[0]["tokens"] = [1] * MAX_TOKENS
    pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="'u0' takes"):
        TokenDataModule(tmp_path / "t.parquet", TOKENIZER, CODES, MAX_TOKENS, 0.85, seed=0)


def test_the_alignment_of_a_pair_points_into_the_joined_text(rows, tmp_path):
    for row in rows:  # every token speaks the character that its id names
        length = len(TOKENIZER.encode(row["text"]))
        row["tokens"] = [token % length for token in row["tokens"]]
        row["alignment"] = row["tokens"]
    pd.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    module = TokenDataModule(tmp_path / "a.parquet", TOKENIZER, CODES, MAX_TOKENS, 0.85, seed=0)
    by_name = {row["utterance"]: row for row in rows}
    for batch in epoch(module):
        assert batch.aligned is not None
        assert ((batch.aligned != IGNORE) == (batch.targets != IGNORE)).all()
        for i, joined in enumerate(batch.utterances):
            members = [by_name[name] for name in joined.split("+")]
            wanted = [
                c for m in members for c in (TOKENIZER.encode(m["text"])[t] for t in m["tokens"])
            ]
            aligned = batch.aligned[i][batch.aligned[i] != IGNORE]
            assert batch.ids[i][aligned].tolist()[:-1] == wanted


def test_without_alignments_batches_have_none(module):
    assert all(batch.aligned is None for batch in epoch(module))


def test_bistream_sequences_reach_the_batch(tmp_path):
    rows = [(f"u{i}", "valid" if i < 2 else "train", "abcde.", "v", [1] * 40) for i in range(8)]
    columns = ["utterance", "split", "text", "voice", "tokens"]
    pd.DataFrame(rows, columns=columns).to_parquet(tmp_path / "t.parquet")
    options = {"max_tokens": 400, "pair_probability": 0.0, "seed": 0, "bistream_probability": 1.0}
    module = TokenDataModule(tmp_path / "t.parquet", CharacterTokenizer(), 11, **options)
    fill = 11 + 2
    assert (next(iter(module.train_dataloader())).targets == fill).any(dim=1).all()
    assert not (next(iter(module.val_dataloader())).targets == fill).any()
    assert not (module.calibration_batch().targets == fill).any()


def test_epochs_are_counted_in_batches_of_a_rank(rows, tmp_path):
    pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    module = TokenDataModule(
        tmp_path / "t.parquet", TOKENIZER, CODES, MAX_TOKENS, pair_probability=0.5, seed=0
    )
    one, two = module.count_steps(1, 1, 1), module.count_steps(2, 1, 1)
    batches = iter(module.train_dataloader())
    seen = [name for _ in range(one) for name in next(batches).utterances]
    names = sorted(name for joined in seen for name in joined.split("+"))
    assert names == sorted(row["utterance"] for row in rows if row["split"] == "train")
    assert two > one and module.count_steps(2, 2, 1) <= two / 2 + 1
    assert module.count_steps(2, 1, 2) == module.count_steps(2, 2, 1)


@pytest.mark.parametrize("world", [1, 2, 7, 40])
def test_any_number_of_ranks_validates_every_utterance_once(world, module, rows):
    names, per_rank = [], []
    for rank in range(world):
        module.trainer = SimpleNamespace(global_rank=rank, world_size=world)
        batches = list(module.val_dataloader())
        per_rank.append(len(batches))
        names += [name for b in batches for row in b.utterances for name in row.split("+")]
    assert sorted(names) == sorted(r["utterance"] for r in rows if r["split"] == "valid")
    # Nobody is left out: a rank without a batch would not take part in what all do together.
    assert min(per_rank) >= 1


def test_another_table_is_trained_on_and_validation_stays(rows, tmp_path):
    pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    said = [{**row, "utterance": f"said-{row['utterance']}", "split": "train"} for row in rows]
    pd.DataFrame(said).to_parquet(tmp_path / "g.parquet")

    def module(*tables):
        paths = [tmp_path / name for name in tables]
        options = (TOKENIZER, CODES, MAX_TOKENS, 0.85)
        return TokenDataModule(tmp_path / "t.parquet", *options, seed=0, train_paths=paths)

    own, other, both = module(), module("g.parquet"), module("t.parquet", "g.parquet")
    assert set(other.train_table.utterances) == {row["utterance"] for row in said}
    joined = [*own.train_table.utterances, *other.train_table.utterances]
    assert both.train_table.utterances == joined
    assert own.valid_table.utterances == other.valid_table.utterances == both.valid_table.utterances


def test_a_batch_says_what_comes_before_the_last_utterance(module, rows):
    by_name = {row["utterance"]: len(row["tokens"]) for row in rows}
    for batch in epoch(module):
        for joined, n in zip(batch.utterances, batch.n_prompt.tolist(), strict=True):
            assert n == sum(by_name[name] for name in joined.split("+")[:-1])
        assert torch.equal(batch.to("cpu").n_prompt, batch.n_prompt)
