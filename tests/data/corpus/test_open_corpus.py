"""The open corpus: WordNet's sentences, who says what, what is heard. No audio is rendered."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from data.corpus import open_build, open_screen
from data.corpus.build import Utterance
from data.corpus.open_build import plan_held_out, plan_training, render, split_voices
from data.corpus.open_split import NGRAM, divide, ngrams, words_of
from data.corpus.screen import Heard
from data.corpus.test_list import deal
from data.corpus.voices import Reading, UnreadableTextError, draw_voices
from data.corpus.wordnet import WordNet, clean

LICENCE = "  1 This software and database is being provided to you\n"
NOUNS = [a + b for a in ("bar", "tol", "mig", "ser", "pon") for b in ("dak", "rin", "wel", "ost")]
PLACES = [a + b for a in ("gar", "hil", "bri", "lak") for b in ("den", "ton", "ford", "mere", "by")]


def sentences() -> list[str]:
    """Words that all recur, each text with another one that repeats five words of it; and 100 texts with a
    word of their own."""
    pairs = [(noun, place) for noun in NOUNS for place in PLACES]
    common = [f"the {noun} of {place} walked home" for noun, place in pairs]
    near = [f"yes the {noun} of {place} walked" for noun, place in pairs]
    own = [f"she found the {noun}{place} near home" for noun in NOUNS[:10] for place in PLACES[:10]]
    return common + near + own


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory) -> WordNet:
    folder = tmp_path_factory.mktemp("wordnet")
    glosses = [f'001 n | thing; "{text}"; "a {i} odd one"' for i, text in enumerate(sentences())]
    glosses.append('002 n | a thing; "a frontal appendage of bone"; "rivers swollen by rain"')
    for part in ("noun", "verb", "adj", "adv"):
        lines = glosses if part == "noun" else []
        (folder / f"data.{part}").write_text(LICENCE + "\n".join(lines) + "\n")
    verbs = ("walk", "find", "carve", "dip", "swell")
    (folder / "index.verb").write_text(LICENCE + "".join(f"{v} v 1\n" for v in verbs))
    (folder / "index.adj").write_text(LICENCE)
    (folder / "index.adv").write_text(LICENCE)
    (folder / "verb.exc").write_text("found find\nswollen swell\nfinding find\n")
    return WordNet(folder)


@pytest.fixture(scope="module")
def texts(wordnet):
    return divide(wordnet, 80, seed=3)


def test_a_missing_package_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.noun is missing.*wordnet-base"):
        WordNet(tmp_path).examples()


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("He jumped; then he  ran", "he jumped, then he ran."),
        ("will you come?", "will you come?"),
        ("a one-way trip", "a one way trip."),
        ("to be or not to be - Shakespeare", "to be or not to be."),
        ("it cost $5 there", None),
        ("he joined the KGB early", None),
        ("two words", None),
        ("le café est bon", None),
    ],
)
def test_examples_are_cleaned_or_left_out(quote, text):
    assert clean(quote) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("he went home.", True),
        ("dip water out of a container.", True),
        ("the dog found a bone.", True),
        ("rivers swollen by rain.", True),
        ("a carved wooden handle.", False),
        ("a frontal appendage.", False),
    ],
)
def test_sentences_have_a_finite_verb(wordnet, text, sentence):
    assert wordnet.is_sentence(text) is sentence


def test_training_shares_no_five_words_with_a_candidate(texts):
    pool = set().union(*map(ngrams, texts.pool))
    assert len(texts.pool) == 80 and len(texts.training) > 200
    for text in texts.training:
        words = words_of(text)
        runs = {tuple(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)}
        assert not runs & pool
    assert not set(texts.pool) & set(texts.training)


def test_half_of_the_candidates_have_a_word_that_training_lacks(texts):
    heard_in_training = Counter(word for text in texts.training for word in words_of(text))
    unseen = [text for text in texts.pool if any(not heard_in_training[w] for w in words_of(text))]
    assert len(unseen) >= 40
    assert all(texts.unseen_words(text) for text in unseen)


def test_grammar_sentences_are_a_minor_part(texts, wordnet):
    natural = set(wordnet.examples())
    grammar = [text for text in texts.training if text not in natural]
    assert 0 < len(grammar) <= 0.1 * len(texts.training)


def test_a_pool_that_wordnet_cannot_fill_is_an_error(wordnet):
    with pytest.raises(ValueError, match="too few for a pool of 4000"):
        divide(wordnet, 4000, seed=3)


@pytest.fixture
def voices():
    return draw_voices(open_build.VOICES, 1)


def test_more_hours_extend_the_plan(texts, voices):
    train = split_voices(voices)[1]
    short = list(plan_training(texts, train, hours=0.1))
    long = list(plan_training(texts, train, hours=0.6))
    assert long[: len(short)] == short and len(short) % open_build.SHARD == 0
    assert len(long) * open_build.MEAN_UTTERANCE_S >= 0.6 * 3600
    readings = pd.DataFrame(long).groupby("text")["voice"]
    assert (readings.nunique() == readings.size()).all(), "a text met a voice twice"
    assert len({row.utterance for row in long}) == len(long)


def test_held_out_splits_have_their_voices_and_their_unseen_words(voices):
    needed = open_build.needed_candidates()
    heard = {kind: [f"{kind} {i}" for i in range(count)] for kind, count in needed.items()}
    table = pd.DataFrame(plan_held_out(heard, voices))
    held_out, train = split_voices(voices)
    test = table[table["split"] == "test"]
    assert len(test) >= 600 and set(test["voice"]) == set(held_out) and len(held_out) == 30
    assert test["text"].str.startswith("unseen").mean() >= 0.3
    assert (table[table["split"] == "prompt"].groupby("voice").size() == 2).all()
    assert set(table[table["split"] == "valid"]["voice"]) <= set(train)
    assert 300 <= (table["split"] == "valid").sum() <= 400
    assert table["text"].is_unique and table["utterance"].is_unique


def test_the_first_sentences_of_the_list_are_like_all_of_them(voices):
    needed = open_build.needed_candidates()
    heard = {kind: [f"{kind} {i}" for i in range(count)] for kind, count in needed.items()}
    table = pd.DataFrame(plan_held_out(heard, voices))
    dealt = deal(table, seed=0)
    assert list(dealt[dealt.split != "test"].utterance) == list(
        table[table.split != "test"].utterance
    )
    test = dealt[dealt["split"] == "test"]
    assert sorted(test.utterance) == sorted(table[table.split == "test"].utterance)
    assert deal(dealt, seed=0).equals(dealt), "dealing twice is dealing once"
    unseen = test["text"].str.startswith("unseen")
    for n in (30, 60, 120, 300):
        assert abs(unseen[:n].mean() - unseen.mean()) < 0.15, n
        assert test["voice"][:n].value_counts().max() == n // 30


class FakeRenderer:
    def read(self, text, length_scale):
        if "unreadable" in text:
            raise UnreadableTextError(f"not one sentence: {text!r}")
        return Reading(np.zeros(1600), ("^", "a", "$"), np.array([400, 1200, 1600]))

    def speak(self, reading, voice, length_scale):
        return reading


def rows(texts):
    return [Utterance(f"train-{i:06d}", "train", text, "v0") for i, text in enumerate(texts)]


def test_a_shard_is_whole_or_absent_and_is_checked_against_the_plan(tmp_path, monkeypatch):
    voice = draw_voices(1, 1)[0]
    monkeypatch.setattr(open_build, "_renderer", FakeRenderer(), raising=False)
    monkeypatch.setattr(open_build, "_voices", {"v0": voice}, raising=False)
    (tmp_path / "wavs").mkdir()
    (tmp_path / "shards").mkdir()
    planned = rows(["one sentence.", "an unreadable one."])
    shard = tmp_path / "shards" / "train-00000.parquet"
    open_build._render_shard(planned, tmp_path, shard)
    table = render(planned, [voice], tmp_path, "train", workers=1)
    assert list(table["status"]) == ["ok", "not one sentence: 'an unreadable one.'"]
    assert list(table["ends"][0]) == [400, 1200, 1600] and table["duration_s"][0] == 0.1
    assert not list(tmp_path.rglob("*.partial"))
    with pytest.raises(ValueError, match="made by another plan"):
        render(rows(["another sentence.", "an unreadable one."]), [voice], tmp_path, "train", 1)


def test_spelling_and_word_breaks_count_as_heard():
    assert open_screen.is_heard("the colour of the mail box.", "The color of the mailbox!")
    assert open_screen.is_heard("it is late.", "It's late.")
    assert not open_screen.is_heard("the goat cried.", "The coat cried.")


def test_voice_errors_are_counted_by_voice():
    heard = [Heard("a", "v0", "the dog cried", "The dog, cried!")]
    heard += [Heard("b", "v1", "the dog cried again", "the cried again")]
    assert open_screen.voice_wer(heard) == {"v0": 0.0, "v1": 0.25}


def test_half_a_line_of_a_stopped_log_is_cut_off(tmp_path):
    log = tmp_path / "pool.jsonl"
    line = json.dumps({"utterance": "a", "voice": "v", "text": "t", "transcript": "t"}) + "\n"
    log.write_text(line + line[:20])
    assert [row.utterance for row in open_screen.read_log(log)] == ["a"]
    assert log.read_text() == line
    assert open_screen.read_log(tmp_path / "absent.jsonl") == []


class FakeListener:
    """Hears what does not contain "mumbled"."""

    def __init__(self, path, workers):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def hear(self, jobs, label):
        return [
            Heard(name, "unmodified", text, "" if "dak" in text else text) for name, text, _ in jobs
        ]


def test_candidates_that_are_not_heard_are_left_out(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(open_screen, "Listener", FakeListener)
    needed = {"unseen": 10, "seen": 20}
    heard = open_screen.screen_pool(tmp_path, texts, needed, workers=1)
    assert {kind: len(found) for kind, found in heard.items()} == needed
    assert not any("dak" in text for found in heard.values() for text in found)
    assert open_screen.screen_pool(tmp_path, texts, {}, workers=1) == heard, "decided once"
    assert "read" in json.loads((tmp_path / "screen.json").read_text())
    with pytest.raises(ValueError, match="set more aside"):
        open_screen.screen_pool(tmp_path / "sub", texts, {"unseen": 999, "seen": 1}, workers=1)


def test_a_decision_about_other_texts_is_refused(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(open_screen, "Listener", FakeListener)
    open_screen.screen_pool(tmp_path, texts, {"unseen": 1, "seen": 1}, workers=1)
    others = replace(texts, pool=texts.pool[::2])
    heard = json.loads((tmp_path / "screen.json").read_text())["heard"]
    assert {*heard["unseen"], *heard["seen"]} - set(others.pool)
    with pytest.raises(ValueError, match=r"screen\.json was decided for other texts"):
        open_screen.screen_pool(tmp_path, others, {}, workers=1)


def test_what_another_build_screened_is_taken_over_whole_or_refused(tmp_path):
    shipped, out = tmp_path / "shipped", tmp_path / "out"
    shipped.mkdir()
    out.mkdir()
    with pytest.raises(FileNotFoundError, match=r"neither voices\.json nor screen\.json"):
        open_build.take_screened(shipped, out)
    for name in open_build.SCREENED:
        (shipped / name).write_text(f'{{"of": "{name}"}}')
    for _ in range(2):  # the second time nothing is in the way
        open_build.take_screened(shipped, out)
        assert (out / "screen.json").read_text() == (shipped / "screen.json").read_text()
    (out / "screen.json").write_text("{}")
    with pytest.raises(ValueError, match=r"screen\.json differs.*empty folder"):
        open_build.take_screened(shipped, out)


class HardPilot(FakeListener):
    """Of the pilot's words every voice misses one in five; the third voice misses two in five."""

    def hear(self, jobs, label):
        def heard(text, voice):
            kept = text.split()
            del kept[::5]
            if voice is not None and voice.name == "v02":
                del kept[::4]
            return text if voice is None else " ".join(kept)

        return [Heard(n, v.name if v else "unmodified", t, heard(t, v)) for n, t, v in jobs]


def test_a_pilot_that_is_hard_for_all_drops_only_the_voice_that_is_worse(
    texts, tmp_path, monkeypatch
):
    monkeypatch.setattr(open_screen, "Listener", HardPilot)
    candidates = draw_voices(5, 1)
    kept = open_screen.screen_voices(tmp_path, texts, candidates, 4, workers=1)
    assert [voice.name for voice in kept] == ["v00", "v01", "v03", "v04"]
    with pytest.raises(ValueError, match="only 4 of the 5 voices"):
        open_screen.screen_voices(tmp_path / "sub", texts, candidates, 5, workers=1)
