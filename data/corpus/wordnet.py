"""WordNet's example sentences: natural English with an open vocabulary.

Read from the Debian package `wordnet-base` (WordNet 3.0, Princeton's permissive licence). Glosses carry
quoted examples; about two thirds are sentences, the rest phrases ("a frontal appendage").
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FOLDER = Path("/usr/share/wordnet")
PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
MIN_WORDS, MAX_WORDS = 3, 16
_QUOTE = re.compile(r'"([^"]+)"')
_ATTRIBUTION = re.compile(r"\s+-\s*[A-Z].*|\s*--\s*[A-Z].*")
_WRITTEN = re.compile(r"[a-z]+('[a-z]+)*( [a-z]+('[a-z]+)*,?)*( [a-z]+('[a-z]+)*)[.?!]")
_CAPITALS = re.compile(r"\b[A-Z]{2,}\b")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SUBJECTS = _words("i you he she it we they there who this these those everyone nobody")
AUXILIARIES = _words(
    """is are was were am has have had do does did can could will would shall should may might must
    isn't aren't wasn't weren't don't doesn't didn't can't couldn't won't wouldn't let's it's i'm he's
    she's that's you're we're they're i'll you'll he'll she'll we'll they'll i've you've we've they've
    what's there's cannot haven't hasn't hadn't shouldn't"""
)
NOUN_MARKS = _words("a an the and or of my your his her its our their very more most")
# What follows a past form that is the verb of its sentence; a noun follows one that describes it.
AFTER_VERB = _words(
    """a an the my your his her its our their me him us them this that these those some all no into in on
    at to from with for by of over under up down out off away about against across through after before
    around toward towards and but as when while because if how what like together back along among
    between during until without within behind beyond one two three many much more very too so not"""
)


@dataclass(frozen=True)
class WordNet:
    """The files of the Debian package in `folder`."""

    folder: Path = FOLDER

    def _lines(self, name: str) -> list[str]:
        """Lines of a file without the licence on top, whose lines begin with two spaces.

        Raises FileNotFoundError naming the package.
        """
        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: install the Debian package wordnet-base "
                "(apt-get install wordnet-base) or give its folder with wordnet=<folder>"
            )
        text = path.read_text(encoding="latin-1")
        return [line for line in text.splitlines() if not line.startswith("  ")]

    @cached_property
    def verbs(self) -> frozenset[str]:
        """Base forms of one-word verbs."""
        return frozenset(line.split(" ", 1)[0] for line in self._lines("index.verb"))

    @cached_property
    def irregular(self) -> dict[str, str]:
        """Irregular verb forms to their base, "went" -> "go", those in -ing left out."""
        pairs = (line.split()[:2] for line in self._lines("verb.exc"))
        return {form: base for form, base in pairs if not form.endswith("ing")}

    @cached_property
    def _not_imperative(self) -> frozenset[str]:
        """Words that are adjectives or adverbs too: at the start of an example they seldom command."""
        return frozenset(
            line.split(" ", 1)[0]
            for name in ("adj", "adv")
            for line in self._lines(f"index.{name}")
        )

    def examples(self) -> list[str]:
        """Distinct cleaned examples in the order of the files; see `clean`."""
        quotes = (
            quote
            for part in PARTS_OF_SPEECH
            for line in self._lines(f"data.{part}")
            for quote in _QUOTE.findall(line.partition("|")[2])
        )
        return list(dict.fromkeys(text for quote in quotes if (text := clean(quote))))

    def is_sentence(self, text: str) -> bool:
        """Whether a cleaned example seems to have a finite verb.

        It has a subject pronoun or an auxiliary, or begins with the base form of a verb ("dip water
        out"), or holds a past form that reads as a verb: no article, possessive or "and" before it ("a
        carved handle" has none), and after it nothing, an adverb, an article or a preposition
        ("linearly polarized light" has none). Cheap and right for about nine examples in ten.
        """
        words = re.findall(r"[a-z']+", text)
        if not SUBJECTS.isdisjoint(words) or not AUXILIARIES.isdisjoint(words):
            return True
        if words[0] in self.verbs and words[0] not in self._not_imperative:
            return words[1] in AFTER_VERB or not self._is_past(words[1])
        return any(
            before not in NOUN_MARKS
            and self._is_past(word)
            and (not after or after in AFTER_VERB or after.endswith("ly"))
            for before, word, after in zip(words, words[1:], words[2:] + [""], strict=False)
        )

    def _is_past(self, word: str) -> bool:
        if word in self.irregular:
            return True
        return word.endswith("ed") and (word[:-1] in self.verbs or word[:-2] in self.verbs)


def clean(quote: str) -> str | None:
    """An example as it is written down and spoken: lower case, commas kept, a sentence end added.

    None for one with digits, acronyms, odd characters, or not MIN_WORDS..MAX_WORDS words; an attribution
    ("... - Shakespeare") is cut off.
    """
    text = _ATTRIBUTION.sub("", quote.strip())
    if _CAPITALS.search(text.replace("I", "")):
        return None
    text = text.lower().replace("`", "'").replace("-", " ")
    end = text.rstrip("' ")[-1:]
    text = text.strip(" .;:!?,-'")
    text = re.sub(r"\s*[;:,]\s*", ", ", text)
    text = re.sub(r"\s+", " ", text) + (end if end in ("?", "!") else ".")
    if not MIN_WORDS <= len(text.split()) <= MAX_WORDS or not _WRITTEN.fullmatch(text):
        return None
    return text
