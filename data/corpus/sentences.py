"""Plausible English sentences of 3-14 words with many free slots.

Too predictable a grammar and the language model learns the grammar instead of reading; random words
and the recogniser cannot follow. The templates below fix only the function words: every content word is
drawn freely from its role, so a model must read the text to know what to say.
"""

import itertools
import random

from data.corpus.lexicon import role_words

# `{role}` is a free slot; everything else is literal. `{np}`, `{thing}` and `{where}` are phrases below.
PILOT_TEMPLATES: tuple[str, ...] = (
    "{np} {verb} {thing}",
    "{np} {verb} {thing} {where}",
    "{np} {verb} {thing} {where} {time}",
    "{np} {adverb} {verb} {thing}",
    "{np} {go} {where}",
    "{np} {adverb} {go} {where} {time}",
    "{np} {go} and {go} {where}",
    "{np} {verb} {thing} and {thing}",
    "{np} and {np} {verb} {thing} {where}",
    "{np} was very {adjective} {time_prep} the {period}",
    "{thing} is too {quality} and {quality}",
    "{time} {np} {verb} {thing}",
    "on {season} {np} {verb} {thing} {where}",
    "in {season} {np} {go} {where}",
    "{time_prep} the {period} {np} {verb} {thing}",
    "{np} {say} that {np} {verb} {thing}",
    "{np} {say} that {thing} was {quality}",
    "{np} {verb} {thing} because it was {quality}",
    "{np} {go} {where} {link} {np} {verb} {thing}",
    "{question} did {np} not like {thing}",
    "there was some {material} {where}",
    "{np} {verb} some {material} and {thing}",
    "there is {thing} {where}",
    "please bring {own} {object} and {own} {food} to the {place}",
    "we could not find {thing} {where}",
    "they {verb} {thing} with {own} {object}",
    "he {verb} {own} {quality} {object} {time}",
    "she {verb} {thing} from the {place}",
    "you should {adverb} visit {thing}",
    "the {person} who {verb} {thing} was {adjective}",
    "{own} {animal} {go} {where}",
    "{np} {verb} {own} {food} and {own} {material}",
    "{np} will be {adjective} and {adjective} {time}",
    "many {quality} {material} and {food} {go} {where}",
    "a story about {np} and {thing}",
    "the {period} in the {place} was {quality}",
    "{own} {person} {go}",
    "{np} {go} {time}",
    "they {adverb} {verb} {own} {object}",
    "we {verb} {thing}",
    "who {verb} {thing}",
)
# Written after the screen, around the function words it dropped ("a", "and", "in", "is", ...): the pilot
# keeps its own list, so that a rebuilt corpus screens the same sentences.
TEMPLATES: tuple[str, ...] = PILOT_TEMPLATES + (
    "{np} found some {material} {where}",
    "{np} {verb} some {quality} {material} with {own} {object}",
    "please bring {own} {object} from the {place} {time}",
    "{question} did {np} bring {thing}",
    "{question} will {np} find {thing} {where}",
    "{np} {say} that {own} {food} was very {quality}",
    "{time_prep} {season} they {verb} {thing} {where}",
    "on {season} {own} {person} {go} with the {adjective} {animal}",
    "{np} {verb} {thing} {link} {np} {verb} {thing}",
    "{link} {np} {go} {where} we {verb} {thing}",
    "{np} from the {place} {adverb} {verb} {own} {quality} {object}",
    "the {quality} {object} {where} was not the {quality} {food}",
    "some {adjective} {person} {verb} {thing} {time_prep} the {period}",
    "{np} will be very {adjective} {time_prep} the {period} on {season}",
    "the {period} at the {place} was very {quality}",
    "they did {adverb} paint the {quality} {object} {where}",
    "we {adverb} {verb} {thing} from the {quality} {place}",
)
PHRASES: dict[str, tuple[str, ...]] = {
    "np": (
        "{det} {person}",
        "{own} {person}",
        "{det} {adjective} {person}",
        "the {adjective} {animal}",
        "{own} {adjective} {person}",
        "the {adjective} and {adjective} {person}",
        "{det} {animal}",
    ),
    "thing": (
        "{det} {object}",
        "{det} {quality} {object}",
        "{own} {object}",
        "the {quality} {food}",
        "{own} {quality} {object}",
        "{det} {food}",
        "the {quality} {quality} {object}",
    ),
    "where": (
        "{place_prep} the {place}",
        "in the {quality} {place}",
        "at the {place}",
        "{place_prep} {own} {place}",
        "{place_prep} the {quality} {object}",
    ),
}
MIN_WORDS, MAX_WORDS = 3, 14
_VOWELS = "aeiou"


class SentenceGenerator:
    """Draws distinct sentences from a fixed seed, using only words outside `dropped`.

    Raises ValueError when a role loses all its words to `dropped`.
    """

    def __init__(
        self,
        seed: int,
        dropped: frozenset[str] = frozenset(),
        templates: tuple[str, ...] = TEMPLATES,
    ) -> None:
        self._templates = templates
        self._random = random.Random(seed)
        self._seen: set[str] = set()
        self._dropped = dropped
        self._roles = {
            role: tuple(word for word in words if word not in dropped)
            for role, words in role_words().items()
        }
        empty = [role for role, words in self._roles.items() if not words]
        if empty:
            raise ValueError(f"the ASR screen leaves no words for: {', '.join(empty)}")

    def _fill(self, pattern: str) -> list[str]:
        words: list[str] = []
        for part in pattern.split():
            if not part.startswith("{"):
                words.append(part)
                continue
            name = part.strip("{}")
            if name in PHRASES:
                words += self._fill(self._random.choice(PHRASES[name]))
            else:
                words.append(self._random.choice(self._roles[name]))
        return words

    def draw(self) -> str:
        """One new sentence in lower case, 3-14 words, no word twice beside itself."""
        while True:
            words = self._fill(self._random.choice(self._templates))
            for i in range(len(words) - 1):
                if words[i] == "a" and words[i + 1][0] in _VOWELS:
                    words[i] = "the"
            sentence = " ".join(words)
            distinct = all(a != b for a, b in itertools.pairwise(words))
            allowed = self._dropped.isdisjoint(words)
            new = sentence not in self._seen
            if MIN_WORDS <= len(words) <= MAX_WORDS and distinct and allowed and new:
                self._seen.add(sentence)
                return sentence

    def draw_many(self, count: int) -> list[str]:
        return [self.draw() for _ in range(count)]
