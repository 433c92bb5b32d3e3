"""Who may say what in the open corpus: candidates for held-out sentences, and texts to train on.

A pool of candidates is set aside before anything is heard. What is trained on shares no five words in a row
with any of them, and half of them contain a word that occurs in no other text.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from data.corpus.lexicon import vocabulary
from data.corpus.sentences import SentenceGenerator
from data.corpus.wordnet import WordNet

NGRAM = 5
POOL_MIN_WORDS, POOL_MAX_WORDS = 4, 14
# One text in GRAMMAR_EVERY is a sentence of the old grammar: 8 %.
GRAMMAR_EVERY = 12


def words_of(text: str) -> list[str]:
    """The words of a cleaned text, without punctuation."""
    return re.findall(r"[a-z']+", text)


def ngrams(text: str) -> set[tuple[str, ...]]:
    """All runs of NGRAM words; of a shorter text the whole."""
    words = tuple(words_of(text))
    size = min(NGRAM, len(words))
    return {words[i : i + size] for i in range(len(words) - size + 1)}


@dataclass(frozen=True)
class Texts:
    """`pool`: candidates for held-out sentences, those with a word of their own and others in turn.
    `training`: distinct texts, sentences before phrases, a grammar sentence after every eleven."""

    pool: tuple[str, ...]
    training: tuple[str, ...]

    def unseen_words(self, text: str) -> set[str]:
        """Words of `text` that no training text has."""
        return set(words_of(text)) - self.training_words

    @cached_property
    def training_words(self) -> frozenset[str]:
        return frozenset(word for text in self.training for word in words_of(text))


def divide(wordnet: WordNet, pool_size: int, seed: int) -> Texts:
    """Sets `pool_size` candidates aside. A pure function of the WordNet files and the seed.

    Raises ValueError when there are not enough sentences for the pool.
    """
    rng = random.Random(seed)
    examples = wordnet.examples()
    sentences = [text for text in examples if wordnet.is_sentence(text)]
    phrases = sorted(set(examples) - set(sentences))
    rng.shuffle(sentences)
    rng.shuffle(phrases)
    counts = Counter(word for text in examples for word in set(words_of(text)))
    grammar_words = set(vocabulary())
    with_own: list[str] = []
    others: list[str] = []
    for text in sentences:
        words = words_of(text)
        if not POOL_MIN_WORDS <= len(words) <= POOL_MAX_WORDS:
            continue
        own = any(counts[word] == 1 and word not in grammar_words for word in words)
        (with_own if own else others).append(text)
    half = pool_size // 2
    if len(with_own) < half or len(others) < half:
        raise ValueError(
            f"{len(with_own)} sentences with a word of their own and {len(others)} others are too few "
            f"for a pool of {pool_size}: is WordNet complete in {wordnet.folder}?"
        )
    pool = [text for pair in zip(with_own[:half], others[:half], strict=True) for text in pair]
    held_out = set().union(*map(ngrams, pool))
    taken = set(pool)
    kept = [t for t in sentences + phrases if t not in taken and held_out.isdisjoint(ngrams(t))]
    return Texts(tuple(pool), tuple(_with_grammar(kept, held_out, seed)))


def _with_grammar(texts: Sequence[str], held_out: set, seed: int) -> Iterator[str]:
    generator = SentenceGenerator(seed + 1)
    known = {text.rstrip(".?!") for text in texts}
    for i, text in enumerate(texts):
        yield text
        if i % (GRAMMAR_EVERY - 1) == GRAMMAR_EVERY - 2:
            while (drawn := generator.draw()) in known or not held_out.isdisjoint(ngrams(drawn)):
                pass
            yield drawn + "."
