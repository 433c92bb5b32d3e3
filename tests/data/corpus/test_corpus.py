"""Sentences, voices, screen and plan of the mini corpus; no audio is rendered."""

import pandas as pd
import pytest

from data.corpus.build import (
    CANDIDATE_VOICES,
    PILOT_COVER,
    SEED,
    TEST_VOICES,
    plan_corpus,
    plan_pilot,
)
from data.corpus.lexicon import vocabulary
from data.corpus.screen import Heard, decide
from data.corpus.sentences import MAX_WORDS, MIN_WORDS, SentenceGenerator
from data.corpus.test_list import test_items as items_of
from data.corpus.test_list import write_meta
from data.corpus.voices import draw_voices

SCREEN = {"dropped_words": {"and": [9, 20], "goat": [5, 9]}, "dropped_voices": ["v03"]}


def test_sentences_are_distinct_short_enough_and_free_of_dropped_words():
    dropped = frozenset({"and", "goat"})
    sentences = SentenceGenerator(1, dropped).draw_many(3000)
    words = [sentence.split() for sentence in sentences]
    assert len(set(sentences)) == 3000
    assert {len(w) for w in words} <= set(range(MIN_WORDS, MAX_WORDS + 1))
    assert not dropped & {word for sentence in words for word in sentence}
    assert len({word for sentence in words for word in sentence}) >= 400
    assert sentences == SentenceGenerator(1, dropped).draw_many(3000)


def test_a_role_without_words_is_an_error():
    with pytest.raises(ValueError, match="period"):
        SentenceGenerator(0, frozenset(vocabulary()) - {"the"})


def test_voices_fill_the_plane_and_any_prefix_is_stable():
    voices = draw_voices(CANDIDATE_VOICES, SEED)
    assert draw_voices(10, SEED) == voices[:10]
    pitches = [v.pitch_hz for v in voices]
    assert min(pitches) < 90 and max(pitches) > 195
    table = pd.DataFrame([v.as_dict() for v in voices])
    assert 0.3 < table["pitch_hz"].corr(table["formant_ratio"]) < 0.9


def test_pilot_shows_every_candidate_word():
    rows = plan_pilot(draw_voices(CANDIDATE_VOICES, SEED))
    counts = pd.Series([w for r in rows for w in set(r.text.split())]).value_counts()
    assert counts.reindex(vocabulary()).min() >= PILOT_COVER


def test_no_test_sentence_and_no_test_voice_is_in_training():
    voices = draw_voices(CANDIDATE_VOICES, SEED)
    table = pd.DataFrame(plan_corpus(SCREEN, voices, hours=2))
    held_out, train = (
        table[table["split"].isin(["test", "prompt"])],
        table[table["split"] == "train"],
    )
    assert not set(held_out["text"]) & set(train["text"])
    assert not set(held_out["voice"]) & set(train["voice"])
    assert not set(table[table["split"] == "valid"]["text"]) & set(train["text"])
    assert held_out["voice"].nunique() == TEST_VOICES and train["voice"].nunique() >= 24
    assert "v03" not in set(table["voice"])
    assert table["utterance"].is_unique
    pairs = train.groupby("text")["voice"].nunique()
    assert (pairs == 2).all()


def test_a_longer_corpus_extends_a_shorter_one():
    voices = draw_voices(CANDIDATE_VOICES, SEED)
    short = plan_corpus(SCREEN, voices, hours=0.5)
    assert plan_corpus(SCREEN, voices, hours=1.0)[: len(short)] == short


def test_screen_drops_misheard_words_then_bad_voices():
    rows = [Heard(f"a{i}", "good", "the goat cried", "The coat cried.") for i in range(3)]
    rows += [Heard(f"b{i}", "good", "the dog cried", "The dog, cried!") for i in range(30)]
    rows += [Heard(f"c{i}", "bad", "my dog cried", "my cried") for i in range(3)]
    screen = decide(rows)
    assert screen["dropped_words"] == {"goat": [3, 3]}
    assert screen["voice_wer"]["good"] == 0.0
    assert screen["voice_wer"]["bad"] == pytest.approx(1 / 3, abs=1e-3)
    assert screen["dropped_voices"] == ["bad"]


def test_meta_lines_pair_each_item_with_a_prompt_of_its_voice(tmp_path):
    voices = draw_voices(CANDIDATE_VOICES, SEED)
    table = pd.DataFrame(plan_corpus(SCREEN, voices, hours=0.1))
    items = items_of(table)
    voice = dict(zip(table["utterance"], table["voice"], strict=True))
    assert len(items) == 400
    assert all(voice[i.prompt] == voice[i.utterance] for i in items)
    assert {i.prompt for i in items} == set(table[table["split"] == "prompt"]["utterance"])
    write_meta(tmp_path / "meta.lst", items, "prompts", "recordings", ".flac")
    first = (tmp_path / "meta.lst").read_text().splitlines()[0].split("|")
    assert first == [
        items[0].utterance,
        items[0].prompt_text,
        f"prompts/{items[0].prompt}.flac",
        items[0].text,
        f"recordings/{items[0].utterance}.flac",
        voice[items[0].utterance],
    ]
